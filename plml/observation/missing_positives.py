"""Positives go missing, and no negative is known."""

from typing import Annotated

import numpy as np
from pydantic import Field

from plml.labels import POSITIVE, UNKNOWN, LabelArray
from plml.mechanism import ChosenPerImage, SeenIndependently
from plml.observation.base import Observation, PartInfo


class MissingPositives(Observation, name="missing_positives"):
    """Every positive is seen with probability ``fraction``, independently; an image may lose all of them."""

    source = "positive-unlabeled learning, labels missing at random: one (N, L) uniform draw, seen where below"
    reveals = frozenset({POSITIVE})

    def __init__(self, *, fraction: Annotated[float, Field(gt=0, le=1)] = 0.5) -> None:
        self.fraction = fraction

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        seen = (truth == POSITIVE) & (rng.random_sample(truth.shape) < self.fraction)
        return np.where(seen, POSITIVE, UNKNOWN).astype(np.int8)

    @property
    def mechanism(self) -> SeenIndependently:
        return SeenIndependently(self.fraction)


class PositivesLeft(Observation, name="positives_left"):
    """An image with n positives keeps floor(n * share) + 1 of them, so it always keeps one.

    These are the counts of the published COCO lists in every one of their 82,081 rows: ``share: 0.5`` of the list
    called "75 % left", ``share: 0.2`` of "40 % left" and ``share: 0`` of the single labels. Which ones are kept is
    drawn here, row by row; the published choice is in the lists themselves (setting ``from_file``).
    """

    source = "lists of Zhang et al., Simple and Robust Loss Design (SPLC), arXiv:2112.07368; the rule is read off them"
    reveals = frozenset({POSITIVE})

    def __init__(self, *, share: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.share = share

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        observed = np.full(truth.shape, UNKNOWN, dtype=np.int8)
        for row, labels in enumerate(truth):
            places = np.flatnonzero(labels == POSITIVE)
            rng.shuffle(places)
            observed[row, places[: int(len(places) * self.share) + 1]] = POSITIVE
        return observed

    @property
    def mechanism(self) -> ChosenPerImage:
        return ChosenPerImage(1, self.share)
