"""A number of known labels for each class, drawn class by class: first its positives, then its negatives."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray
from plml.mechanism import KnownAtRandom
from plml.observation.base import Observation, PartInfo


class FixedPerClass(Observation, name="fixed_per_class"):
    """FPC: at most ``count`` positives and ``count`` negatives of each class are known, all if there are fewer."""

    source = "CSL (Ben-Baruch et al., CVPR 2022, arXiv:2110.10955): FPC; count 1000 on COCO"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, count: Annotated[int, Field(ge=1, description="of each value, a class")] = 1000) -> None:
        self.count = count

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return _reveal_per_class(truth, rng, lambda _: self.count)

    @property
    def mechanism(self) -> KnownAtRandom:
        return KnownAtRandom(keeps_share=False)


class KnownPerClass(Observation, name="known_per_class"):
    """A fraction of the positives and of the negatives of each class is known, rounded down, but at least one.

    A class without positives (or without negatives) reveals none of them; the released code stops there.
    """

    source = "IMCL (Huynh and Elhamifar, CVPR 2020): per label, the fractions 0.1, 0.2, 0.4, 0.6, 0.8, 1"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, fraction: Annotated[float, Field(gt=0, le=1)] = 0.4) -> None:
        self.fraction = fraction

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return _reveal_per_class(truth, rng, lambda available: max(int(available * self.fraction), 1))

    @property
    def mechanism(self) -> KnownAtRandom:
        return KnownAtRandom()


def _reveal_per_class(truth: LabelArray, rng: np.random.RandomState, count: Callable[[int], int]) -> LabelArray:
    """Reveal ``count(available)`` labels of each class and value, or all available ones, without replacement."""
    observed = np.full(truth.shape, UNKNOWN, dtype=np.int8)
    for column in range(truth.shape[1]):
        for value in (POSITIVE, NEGATIVE):
            places = np.flatnonzero(truth[:, column] == value)
            if len(places):
                chosen = rng.choice(places, min(count(len(places)), len(places)), replace=False)
                observed[chosen, column] = value
    return observed
