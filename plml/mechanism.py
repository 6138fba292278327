"""How a label setting hides labels, as far as a criterion has to know it to put the loss right.

Notation: :math:`s_{ij}` is what is seen of the label :math:`y_{ij}`; :math:`a = P(s = 1 | y = 0)` and
:math:`b = P(s = 1 | y = 1)`. :mod:`plml.selection` corrects by them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChosenPerImage:
    """Of an image's k positives some are seen, each set of that size equally likely: a = 0, b = seen / k.

    ``floor(k * share) + count`` positives are seen, or all of them if there are fewer.

    Attributes:
        count: at least so many, >= 1; None where nobody said how many.
        share: share of the positives that is seen besides, in [0, 1).
    """

    count: int | None = 1
    share: float = 0.0


@dataclass(frozen=True)
class SeenIndependently:
    """Every positive is seen with one known probability: a = 0, b = fraction.

    Attributes:
        fraction: in (0, 1].
    """

    fraction: float


@dataclass(frozen=True)
class KnownAtRandom:
    """Positives and negatives are known by chance, so the known entries speak for the unknown ones.

    Attributes:
        keeps_share: whether a class has the same share of positives among its known entries as among all.
    """

    keeps_share: bool = True


@dataclass(frozen=True)
class CandidateNoise:
    """Every positive is a candidate, and so is a negative with one probability: a = rate, b = 1.

    Attributes:
        rate: in [0, 1); None if it is to be derived from the expected number of positives of an image.
    """

    rate: float | None


Mechanism = ChosenPerImage | SeenIndependently | KnownAtRandom | CandidateNoise
