"""Every label is seen."""

import numpy as np

from plml.labels import NEGATIVE, POSITIVE, LabelArray
from plml.mechanism import KnownAtRandom
from plml.observation.base import Observation, PartInfo


class FullyObserved(Observation, name="fully_observed"):
    """Every true label is seen."""

    source = "the fully supervised setting"
    reveals = frozenset({POSITIVE, NEGATIVE})
    random = False

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return truth.copy()

    @property
    def mechanism(self) -> KnownAtRandom:
        return KnownAtRandom()
