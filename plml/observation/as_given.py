"""The labels that come with the data set."""

import numpy as np

from plml.errors import DataError
from plml.labels import NEGATIVE, POSITIVE, LabelArray, check_labels
from plml.observation.base import Observation, PartInfo


class AsGiven(Observation, name="as_given"):
    """The observed labels that come with the data set: real partial annotations, or a published draw.

    A test part without observed labels is scored on its true ones.
    """

    source = "the data set"
    reveals = frozenset({POSITIVE, NEGATIVE})
    random = False
    needs = "observed labels of the data set"

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        if part.given is None and part.name == "test":
            # Most data sets that bring observed labels do so for training only; test labels choose nothing.
            return truth.copy()
        if part.given is None:
            raise DataError(
                "data.observation 'as_given' takes the observed labels that come with the data set, and this one has "
                f"none for its part '{part.name}'"
            )
        if part.given.shape != truth.shape:
            raise ValueError(f"observed labels have shape {part.given.shape}, true labels {truth.shape}")
        return check_labels(part.given, "observed labels")
