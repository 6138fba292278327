"""The code of a registered model: MLflow runs this file when it loads one, so nothing is pickled.

The file is copied into the model beside the checkpoint. Only MLflow imports it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageScores(PythonModel):
    """Probabilities of all classes, (B, L) float32, of images (B, H, W, C) uint8 of any size."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network; called once."""
        from plml.predictor import Predictor

        self.predictor = Predictor(Path(context.artifacts["checkpoint"]))

    # A bare array type: MLflow would take anything else for a schema of its own.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Return the probabilities of ``model_input``."""
        images = [self.predictor.resized(image) for image in model_input]
        return self.predictor.probabilities(images).numpy()


set_model(ImageScores())
