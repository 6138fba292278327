"""Entries that are known at random, positives and negatives alike: one uniform (N, L) draw."""

from typing import Annotated

import numpy as np
from pydantic import Field

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray
from plml.mechanism import KnownAtRandom
from plml.observation.base import Observation, PartInfo


class KnownFraction(Observation, name="known_fraction"):
    """Every label, positive or negative, is known with probability ``fraction``, independently.

    The released code seeds NumPy's global generator with 0 before the draw, so ``data.observation_seed: 0`` repeats
    its labels bit for bit, for the same rows in the same order. Papers report the mean over 0.1, 0.2, ..., 0.9.
    """

    source = "HCP-MLR-PL (Chen et al., SST, AAAI 2022, arXiv:2112.10941): one (N, L) uniform draw, known where below"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, fraction: Annotated[float, Field(gt=0, le=1)] = 0.5) -> None:
        self.fraction = fraction

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        known = rng.random_sample(truth.shape) < self.fraction
        return np.where(known, truth, UNKNOWN).astype(np.int8)

    @property
    def mechanism(self) -> KnownAtRandom:
        return KnownAtRandom()


class RandomPerSample(Observation, name="random_per_sample"):
    """RPS: every label, positive or negative, is unknown with probability ``rate``, independently.

    The entries that ``known_fraction`` loses are the ones that this setting keeps, if the numbers are the same: the
    two papers read the same uniform matrix from opposite ends.
    """

    source = "CSL (Ben-Baruch et al., CVPR 2022, arXiv:2110.10955): one (N, L) uniform draw, unknown where below; RPS"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, rate: Annotated[float, Field(ge=0, lt=1)] = 0.5) -> None:
        self.rate = rate

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        lost = rng.random_sample(truth.shape) < self.rate
        return np.where(lost, UNKNOWN, truth).astype(np.int8)

    @property
    def mechanism(self) -> KnownAtRandom:
        return KnownAtRandom()
