"""Who is better across data sets or label settings: average ranks, Friedman's test and Nemenyi's critical difference.

Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05


@dataclass(frozen=True)
class Ranking:
    """Ranks of K treatments over N blocks; 1 is best.

    Attributes:
        names: of the treatments.
        blocks: names of the blocks that every treatment has a figure in.
        average: mean rank of each treatment, (K,).
        chi_square: Friedman's statistic, corrected for ties, K - 1 degrees of freedom; None with two treatments.
        p_friedman: its p value.
        f: Iman and Davenport's statistic, less conservative; K - 1 and (K - 1)(N - 1) degrees of freedom.
        p_iman_davenport: its p value.
        critical_difference: of average ranks, Nemenyi at 0.05.
        p_nemenyi: of each pair, (K, K), 1 on the diagonal.
    """

    names: tuple[str, ...]
    blocks: tuple[str, ...]
    average: tuple[float, ...]
    chi_square: float | None
    p_friedman: float | None
    f: float | None
    p_iman_davenport: float | None
    critical_difference: float
    p_nemenyi: tuple[tuple[float, ...], ...]

    def cliques(self) -> list[tuple[int, ...]]:
        """Return the largest groups of treatments, by their places in ``names``, within the critical difference."""
        order = sorted(range(len(self.names)), key=lambda place: (self.average[place], place))
        groups: list[tuple[int, ...]] = []
        for start, first in enumerate(order):
            group = tuple(i for i in order[start:] if self.average[i] - self.average[first] <= self.critical_difference)
            if len(group) > 1 and not any(set(group) <= set(larger) for larger in groups):
                groups.append(group)
        return groups


def rank(names: Sequence[str], blocks: Sequence[str], figures: NDArray[Any]) -> Ranking | None:
    """Return the ranking by ``figures`` (N, K), larger is better, equal ones sharing the mean of their ranks.

    None with less than two blocks or treatments.

    Args:
        names: of the K treatments.
        blocks: of the N blocks.
        figures: percent, all finite.
    """
    from scipy.stats import f as f_distribution
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    n, k = figures.shape
    if n < 2 or k < 2:
        return None
    average = rankdata(-figures, axis=1).mean(axis=0)
    error = np.sqrt(k * (k + 1) / (6 * n))
    apart = np.abs(average[:, None] - average) / error * np.sqrt(2)
    nemenyi = np.where(np.eye(k, dtype=bool), 1.0, studentized_range.sf(apart, k, np.inf))
    chi_square = p_friedman = f = p_f = None
    if k >= 3 and np.any(figures != figures[:, :1]):
        found = friedmanchisquare(*figures.T)
        chi_square, p_friedman = float(found.statistic), float(found.pvalue)
        left = n * (k - 1) - chi_square
        f = float((n - 1) * chi_square / left) if left > 1e-9 else float("inf")  # the same order in every block
        p_f = float(f_distribution.sf(f, k - 1, (k - 1) * (n - 1)))
    return Ranking(
        names=tuple(names),
        blocks=tuple(blocks),
        average=tuple(float(value) for value in average),
        chi_square=chi_square,
        p_friedman=p_friedman,
        f=f,
        p_iman_davenport=p_f,
        critical_difference=float(studentized_range.isf(LEVEL, k, np.inf) / np.sqrt(2) * error),
        p_nemenyi=tuple(tuple(float(p) for p in row) for row in nemenyi),
    )
