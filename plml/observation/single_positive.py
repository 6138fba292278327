"""Random positives, and negatives, of each image: single positive labels and the settings they are compared with."""

from typing import Annotated

import numpy as np
from pydantic import Field

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray
from plml.mechanism import CandidateNoise, ChosenPerImage, SeenIndependently
from plml.observation.base import Observation, PartInfo

COLE = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"

LabelCount = Annotated[int, Field(ge=-1, description="labels an image; -1 reveals all of them")]


class SinglePositive(Observation, name="single_positive"):
    """A few random positives an image (one by default), no negative."""

    source = COLE
    reveals = frozenset({POSITIVE})

    def __init__(self, *, num_positives: LabelCount = 1) -> None:
        self.num_positives = num_positives

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return reveal_counts(truth, rng, self.num_positives, 0)

    @property
    def mechanism(self) -> ChosenPerImage | SeenIndependently:
        return _mechanism(self.num_positives)


class PositivesNegatives(Observation, name="positives_negatives"):
    """Some random positives and some random negatives an image (the IU setting with one of each)."""

    source = f"{COLE}: IU"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, num_positives: LabelCount = 1, num_negatives: LabelCount = 1) -> None:
        self.num_positives, self.num_negatives = num_positives, num_negatives

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return reveal_counts(truth, rng, self.num_positives, self.num_negatives)

    @property
    def mechanism(self) -> ChosenPerImage | SeenIndependently:
        return _mechanism(self.num_positives)


class AllNegatives(Observation, name="all_negatives"):
    """A few random positives and every true negative: the IUN oracle, which ignores unobserved positives.

    The positives are those of ``single_positive`` under the same seed. The released code meant to reveal the
    negatives too but compares with the wrong value and never does; this is the setting of the paper.
    """

    source = f"{COLE}: IUN"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, num_positives: LabelCount = 1) -> None:
        self.num_positives = num_positives

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        return reveal_counts(truth, rng, self.num_positives, -1)

    @property
    def mechanism(self) -> CandidateNoise:
        return CandidateNoise(0.0)  # whatever is no known negative is positive


def reveal_counts(truth: LabelArray, rng: np.random.RandomState, num_positives: int, num_negatives: int) -> LabelArray:
    """Return Cole's draw: a row shuffles its positives, then its negatives, and reveals the first few of each.

    Both shuffles take place whatever is revealed, because the next row depends on the state they leave.
    """
    observed = np.full(truth.shape, UNKNOWN, dtype=np.int8)
    for row, labels in enumerate(truth):
        for value, count in ((POSITIVE, num_positives), (NEGATIVE, num_negatives)):
            places = np.flatnonzero(labels == value)
            rng.shuffle(places)
            observed[row, places if count == -1 else places[:count]] = value
    return observed


def _mechanism(num_positives: int) -> ChosenPerImage | SeenIndependently:
    return SeenIndependently(1.0) if num_positives == -1 else ChosenPerImage(num_positives)
