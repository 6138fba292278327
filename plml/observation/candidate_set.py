"""Candidate sets of partial multi-label learning."""

from typing import Annotated

import numpy as np
from pydantic import Field

from plml.labels import NEGATIVE, UNKNOWN, LabelArray
from plml.mechanism import CandidateNoise
from plml.observation.base import Observation, PartInfo


class CandidateSet(Observation, name="candidate_set"):
    """Partial multi-label learning: every positive is a candidate, a negative is one with probability ``rate``.

    A candidate may be true or false, so it is UNKNOWN; a label that is no candidate is certainly NEGATIVE.
    """

    source = "CoNeS, IEEE TCSVT 2025: uniform candidate noise, one (N, L) uniform draw"
    reveals = frozenset({NEGATIVE})

    def __init__(self, *, rate: Annotated[float, Field(ge=0, le=1)] = 0.1) -> None:
        self.rate = rate

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        excluded = (truth == NEGATIVE) & (rng.random_sample(truth.shape) >= self.rate)
        return np.where(excluded, NEGATIVE, UNKNOWN).astype(np.int8)

    @property
    def mechanism(self) -> CandidateNoise:
        return CandidateNoise(self.rate)
