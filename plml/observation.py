"""How labels get lost or noisy: from the truth to the labels a training set is said to have.

Each mechanism is a small class with keyword-only options and ``draw(truth, rng)``. The law of all of them:
a drawn entry is UNKNOWN or equals the truth; an entry whose truth is UNKNOWN stays UNKNOWN.
"""

from typing import Any, ClassVar

import numpy as np

from plml.errors import ConfigError, nearest
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray

OBSERVATIONS: dict[str, type["Observation"]] = {}


class Observation:
    """A label setting. ``reveals`` tells which known values it can produce, before any data is read."""

    name: ClassVar[str]
    source: ClassVar[str]
    reveals: ClassVar[frozenset[int]]

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        cls.name = name
        OBSERVATIONS[name] = cls

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        """Return the observed (N, L) matrix for the true one, consuming ``rng`` as the source does."""
        raise TypeError(f"{type(self).__name__} does not define draw")
