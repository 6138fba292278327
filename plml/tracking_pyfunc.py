"""The code of a registered model: MLflow runs this file when it loads one, so nothing is pickled.

The file is copied into the model beside the checkpoint. Only MLflow imports it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageScores(PythonModel):
    """Probabilities of all classes, of images of any size.

    Pixels (B, H, W, C) uint8 give an array (B, L) float32. Image files, in base64 or as bytes, give an object each:
    probabilities by class, and the classes that the image has if the model has thresholds.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network; called once."""
        from plml.predictor import Predictor
        from plml.thresholds.file import read_thresholds

        self.predictor = Predictor(Path(context.artifacts["checkpoint"]))
        file = context.artifacts.get("thresholds")
        self.thresholds = None if file is None else read_thresholds(Path(file))

    # A bare array type: MLflow would take anything else for a schema of its own.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Return the probabilities of ``model_input``; raise MlflowException, to a client 400, for what is no image."""
        from plml.errors import DataError
        from plml.prediction.request import is_files, read_files, read_pixels
        from plml.prediction.writers import named, predict_labels

        files = is_files(model_input)
        try:
            images = (read_files if files else read_pixels)(model_input, self.predictor)
        except DataError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
        logits = self.predictor.logits(images)
        if not files:
            thresholds = self.thresholds
            found = logits.sigmoid() if thresholds is None else thresholds.probabilities(logits)
            return found.numpy()
        names, answers = self.predictor.class_names, []
        for row in logits:
            probabilities, labels = predict_labels(row, names, self.thresholds)
            told = {} if labels is None else {"labels": labels}
            answers.append({**told, "probabilities": named(probabilities, names)})
        return answers  # type: ignore[return-value]  # a list of objects, which MLflow sends as they are


set_model(ImageScores())
