"""What a label setting is: from the truth to the labels a training set is said to have.

Each setting is a small class with keyword-only options and ``draw(truth, rng, part)``. The law of all of them:
a drawn entry is UNKNOWN or equals the truth; an entry whose truth is UNKNOWN stays UNKNOWN. An image
without any positive label is fine everywhere.

Draws use NumPy's legacy generator, because the published protocols are defined by its stream.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from plml.errors import ConfigError, nearest
from plml.labels import LabelArray, check_labels
from plml.mechanism import Mechanism

OBSERVATIONS: dict[str, type["Observation"]] = {}

Evidence = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class PartInfo:
    """What a setting may know of an official part besides its true labels.

    Attributes:
        name: train, val or test.
        ids: N names of the examples; empty if nobody needs them.
        class_names: L names, in column order; empty if nobody needs them.
        root: folder of the data set; relative paths of label files start there.
        given: (N, L) observed labels that came with the data set.
        evidence: reads the boxes' areas and places, see :class:`plml.data.source.Part`.
    """

    name: str = "train"
    ids: Sequence[str] = ()
    class_names: Sequence[str] = ()
    root: Path | None = None
    given: LabelArray | None = None
    evidence: Callable[[], Evidence] | None = None


class Observation:
    """A label setting. ``reveals`` tells which known values it can produce, before any data is read.

    Class attributes:
        source: where the protocol comes from.
        reveals: the known label values the setting can produce.
        needs: what besides the true labels it draws from, in words; empty if nothing.
        random: whether another ``data.observation_seed`` draws other labels.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    reveals: ClassVar[frozenset[int]]
    needs: ClassVar[str] = ""
    random: ClassVar[bool] = True

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        if name in OBSERVATIONS:
            raise TypeError(f"two label settings are named '{name}'")
        cls.name = name
        OBSERVATIONS[name] = cls

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        """Return the observed (N, L) matrix for the true one, consuming ``rng`` as the source does."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    @property
    def mechanism(self) -> Mechanism | None:
        """How labels got lost, for criteria that put it right; None if the setting does not say."""
        return None


def make_observation(observation: Mapping[str, Any]) -> Observation:
    """Return the mechanism that ``{name, **options}`` describes; raise ConfigError for an unknown name."""
    options = dict(observation)
    name = options.pop("name")
    if name not in OBSERVATIONS:
        raise ConfigError(f"data.observation.name: there is no label setting '{name}'{nearest(name, OBSERVATIONS)}")
    return OBSERVATIONS[name](**options)


def observe(truth: LabelArray, observation: Mapping[str, Any], seed: int, part: PartInfo | None = None) -> LabelArray:
    """Return the observed labels of one official part.

    Every part starts a fresh ``RandomState(seed)``, as in the released generators, so all parts share a stream.

    Args:
        truth: (N, L) true labels.
        observation: ``{name, **options}`` as in ``data.observation``.
        seed: ``data.observation_seed``, >= 0.
        part: what else is known of the part; settings with ``needs`` cannot do without.

    Raises:
        ConfigError: the name is unknown.
        DataError: the setting needs something that the data set does not have.
        ValueError: a matrix does not hold the project's label values, or the shapes differ.
    """
    truth = check_labels(truth, "true labels")
    return make_observation(observation).draw(truth, np.random.RandomState(seed), part or PartInfo())
