"""How labels get lost or noisy: from the truth to the labels a training set is said to have.

Each mechanism is a small class with keyword-only options and ``draw(truth, rng)``. The law of all of them:
a drawn entry is UNKNOWN or equals the truth; an entry whose truth is UNKNOWN stays UNKNOWN. An image
without any positive label is fine everywhere.

Draws use NumPy's legacy generator, because the published protocols are defined by its stream.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from plml.errors import ConfigError, DataError, nearest
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray, check_labels

OBSERVATIONS: dict[str, type["Observation"]] = {}

COLE = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"

LabelCount = Annotated[int, Field(ge=-1, description="labels an image; -1 reveals all of them")]


class Observation:
    """A label setting. ``reveals`` tells which known values it can produce, before any data is read.

    Class attributes:
        source: where the protocol comes from.
        reveals: the known label values the setting can produce.
        given: the labels come with the data set; nothing is drawn.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    reveals: ClassVar[frozenset[int]]
    given: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        if name in OBSERVATIONS:
            raise TypeError(f"two label settings are named '{name}'")
        cls.name = name
        OBSERVATIONS[name] = cls

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        """Return the observed (N, L) matrix for the true one, consuming ``rng`` as the source does."""
        raise TypeError(f"{type(self).__name__} does not define draw")


class FullyObserved(Observation, name="fully_observed"):
    """Every true label is seen."""

    source = "the fully supervised setting"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        return truth.copy()


class SinglePositive(Observation, name="single_positive"):
    """A few random positives an image (one by default), no negative."""

    source = COLE
    reveals = frozenset({POSITIVE})

    def __init__(self, *, num_positives: LabelCount = 1) -> None:
        self.num_positives = num_positives

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        return _reveal_counts(truth, rng, self.num_positives, 0)


class PositivesNegatives(Observation, name="positives_negatives"):
    """Some random positives and some random negatives an image (the IU setting with one of each)."""

    source = f"{COLE}: IU"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, num_positives: LabelCount = 1, num_negatives: LabelCount = 1) -> None:
        self.num_positives, self.num_negatives = num_positives, num_negatives

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        return _reveal_counts(truth, rng, self.num_positives, self.num_negatives)


class AllNegatives(Observation, name="all_negatives"):
    """A few random positives and every true negative: the IUN oracle, which ignores unobserved positives.

    The positives are those of ``single_positive`` under the same seed. The released code meant to reveal the
    negatives too but compares with the wrong value and never does; this is the setting of the paper.
    """

    source = f"{COLE}: IUN"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, num_positives: LabelCount = 1) -> None:
        self.num_positives = num_positives

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        return _reveal_counts(truth, rng, self.num_positives, -1)


class KnownFraction(Observation, name="known_fraction"):
    """Every label, positive or negative, is known with probability ``fraction``, independently."""

    source = "HCP-MLR-PL (Chen et al., SST, AAAI 2022, arXiv:2112.10941): one (N, L) uniform draw, known where below"
    reveals = frozenset({POSITIVE, NEGATIVE})

    def __init__(self, *, fraction: Annotated[float, Field(gt=0, le=1)] = 0.5) -> None:
        self.fraction = fraction

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        known = rng.random_sample(truth.shape) < self.fraction
        return np.where(known, truth, UNKNOWN).astype(np.int8)


class CandidateSet(Observation, name="candidate_set"):
    """Partial multi-label learning: every positive is a candidate, a negative is one with probability ``rate``.

    A candidate may be true or false, so it is UNKNOWN; a label that is no candidate is certainly NEGATIVE.
    """

    source = "CoNeS, IEEE TCSVT 2025: uniform candidate noise, one (N, L) uniform draw"
    reveals = frozenset({NEGATIVE})

    def __init__(self, *, rate: Annotated[float, Field(ge=0, le=1)] = 0.1) -> None:
        self.rate = rate

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        excluded = (truth == NEGATIVE) & (rng.random_sample(truth.shape) >= self.rate)
        return np.where(excluded, NEGATIVE, UNKNOWN).astype(np.int8)


class AsGiven(Observation, name="as_given"):
    """The observed labels that come with the data set: real partial annotations, or a published draw."""

    source = "the data set"
    reveals = frozenset({POSITIVE, NEGATIVE})
    given = True

    def draw(self, truth: LabelArray, rng: np.random.RandomState) -> LabelArray:
        raise DataError(
            "data.observation 'as_given' takes the observed labels that come with the data set, and this one has none"
        )


def make_observation(observation: Mapping[str, Any]) -> Observation:
    """Return the mechanism that ``{name, **options}`` describes; raise ConfigError for an unknown name."""
    options = dict(observation)
    name = options.pop("name")
    if name not in OBSERVATIONS:
        raise ConfigError(f"data.observation.name: there is no label setting '{name}'{nearest(name, OBSERVATIONS)}")
    return OBSERVATIONS[name](**options)


def observe(
    truth: LabelArray, observation: Mapping[str, Any], seed: int, given: LabelArray | None = None
) -> LabelArray:
    """Return the observed labels of one official part.

    Every part starts a fresh ``RandomState(seed)``, as in the released generators, so all parts share a stream.

    Args:
        truth: (N, L) true labels.
        observation: ``{name, **options}`` as in ``data.observation``.
        seed: ``data.observation_seed``, >= 0.
        given: (N, L) observed labels that came with the part, for ``as_given``.

    Raises:
        ConfigError: the name is unknown.
        DataError: ``as_given`` without given labels.
        ValueError: a matrix does not hold the project's label values, or the shapes differ.
    """
    truth = check_labels(truth, "true labels")
    mechanism = make_observation(observation)
    if mechanism.given and given is not None:
        if given.shape != truth.shape:
            raise ValueError(f"observed labels have shape {given.shape}, true labels {truth.shape}")
        return check_labels(given, "observed labels")
    return mechanism.draw(truth, np.random.RandomState(seed))


def _reveal_counts(truth: LabelArray, rng: np.random.RandomState, num_positives: int, num_negatives: int) -> LabelArray:
    """Cole's generator: a row shuffles its positives, then its negatives, and reveals the first few of each.

    Both shuffles take place whatever is revealed, because the next row depends on the state they leave.
    """
    observed = np.full(truth.shape, UNKNOWN, dtype=np.int8)
    for row, labels in enumerate(truth):
        for value, count in ((POSITIVE, num_positives), (NEGATIVE, num_negatives)):
            places = np.flatnonzero(labels == value)
            rng.shuffle(places)
            observed[row, places if count == -1 else places[:count]] = value
    return observed
