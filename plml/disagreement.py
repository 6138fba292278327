"""Signs of label bias: estimates that agree where labels are seen by chance, and not where they are seen by looks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOUND = 0.7  # of the correlation between corrected AP and PU-AUC, freed of noise
RELIABLE = 0.5  # least correlation of a criterion with itself on the other half of the images
FEWEST = 8  # of fewer models a rank correlation says little
SHARE = 0.9  # of the declared number of positives of an image
DEVIATIONS = 1.645  # standard errors below the declared number: 5 % of unbiased draws, one-sided


@dataclass(frozen=True)
class Disagreement:
    """How well estimates agree that rest on labels being seen by chance.

    Attributes:
        correlation: rank correlation between corrected AP and PU-AUC over models, freed of noise; None if it cannot
            be told.
        models: of how many.
        implied: positives of an image that the label frequencies of the best models imply; None if it cannot be told.
        error: its standard error over images.
        declared: positives of an image as declared, or None.
    """

    correlation: float | None
    models: int
    implied: float | None = None
    error: float = 0.0
    declared: float | None = None

    @property
    def reasons(self) -> list[str]:
        """What suggests label bias, in words; empty if nothing does."""
        found = []
        if self.correlation is not None and self.models >= FEWEST and self.correlation < BOUND:
            found.append(
                f"corrected AP and PU-AUC order the same {self.models} models differently (rank correlation freed of "
                f"noise {self.correlation:.2f}, below {BOUND:g})"
            )
        if self.implied is not None and self.declared is not None:
            few = self.implied < SHARE * self.declared
            if few and self.implied + DEVIATIONS * self.error < self.declared:
                found.append(
                    f"labels gather at the top of rankings: their frequency there implies {self.implied:.2f} ± "
                    f"{self.error:.2f} positives an image, and {self.declared:g} are declared"
                )
        return found

    @property
    def warns(self) -> bool:
        """Whether label bias is suspected."""
        return bool(self.reasons)


def noise_free_correlation(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float | None:
    """Return the rank correlation that two criteria would have over models if images were without number.

    Spearman's correction for attenuation: the correlation of one criterion on one half of the images with the other
    criterion on the other half, by the geometric mean of each with itself; correlations are means over splits.

    Args:
        first: values of a criterion, (2 S, K) for K models: halves of S random splits, those of a split in a row.
        second: of the other criterion, on the same halves.

    Returns:
        A number that noise may bring above 1; None if either criterion has less than :data:`RELIABLE` with itself.
    """
    one, two = (_ranks(np.asarray(values, dtype=float)) for values in (first, second))
    pairs = range(0, len(one), 2)
    with_itself = [np.mean([_correlation(values[i], values[i + 1]) for i in pairs]) for values in (one, two)]
    if not min(with_itself) >= RELIABLE:
        return None
    across = np.mean([_correlation(one[i + a], two[i + 1 - a]) for i in pairs for a in (0, 1)])
    return float(across / np.sqrt(with_itself[0] * with_itself[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=-1))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where nothing varies."""
    one, two = first - first.mean(), second - second.mean()
    size = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / size) if size > 0 else 0.0
