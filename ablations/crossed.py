"""Means over runs that share seeds and label draws: their interval and whether they differ from 0.

Runs are crossed: every seed meets every label draw. Two figures from the same draw are not independent, so the usual
t interval over all runs is too narrow as soon as draws (or seeds) have an effect of their own. With figures
d[i, j] = mean + seed[i] + draw[j] + residual[i, j], all three random and normal, S seeds and D draws,

    Var(mean) = V_seed + V_draw - V_residual,

where V_seed = Var(means by seed) / S, V_draw = Var(means by draw) / D (each also holds a share of the residual) and
V_residual = MS_residual / (S D). Clark's quasi-F (Journal of Verbal Learning and Verbal Behavior 12, 1973) divides by
this with Satterthwaite's degrees of freedom; with few draws that rejects too often (``docs/statistics.md`` has the
figures). The half width here adds the squares of two t half widths, as Banerjee's interval for a sum of variances does
(Sankhya 22, 1960), which never covers too rarely:

    h^2 = max(t_seed^2 (V_seed - V_residual)+ + t_draw^2 V_draw,  t_seed^2 V_seed + t_draw^2 (V_draw - V_residual)+)

with t_seed and t_draw the quantiles of S - 1 and D - 1 degrees of freedom. One seed or one draw leaves the t interval
of the n figures. Where pairs are missing, means by seed and by draw are over the pairs that are there and
V_residual is taken as 0, which only widens; if no two figures share a seed or a draw, they are independent and it is
the t interval again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]
NEGLIGIBLE = 1e-24  # of the figures' size squared: what rounding leaves of a variance that is 0
_SMALLEST_TAIL = 1e-100  # quantiles beyond overflow


@dataclass(frozen=True)
class Crossed:
    """Figures by (seed, draw) and what their mean's variance is made of.

    Attributes:
        mean: of all figures.
        n: how many.
        seeds: S.
        draws: D.
        parts: (variance, degrees of freedom) of each part of the mean's variance; empty with a single figure.
        residual: V_residual, 0 if there is one part only or if pairs are missing.
    """

    mean: float
    n: int
    seeds: int
    draws: int
    parts: tuple[tuple[float, int], ...]
    residual: float = 0.0

    def half_width(self, level: float = 0.95) -> float | None:
        """Return half the width of the mean's confidence interval; None with a single figure."""
        return float(np.sqrt(self._square((1 - level) / 2))) if self.parts else None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the mean's confidence interval; None with a single figure."""
        half = self.half_width(level)
        return None if half is None else (self.mean - half, self.mean + half)

    def p_value(self) -> float | None:
        """Return the two-sided p of "the mean is 0": one minus the level of the interval that just reaches 0.

        None where that cannot be said: a single figure, or figures that are all the same and not 0.
        """
        if not self.parts:
            return None
        if not any(variance for variance, _ in self.parts):
            return 1.0 if self.mean == 0 else None
        if self.mean == 0:
            return 1.0
        from scipy.optimize import brentq
        from scipy.special import stdtr

        if len(self.parts) == 1:
            ((variance, freedom),) = self.parts
            return 2 * float(stdtr(freedom, -abs(self.mean) / np.sqrt(variance)))

        def excess(log_tail: float) -> float:
            return self._square(float(np.exp(log_tail))) - self.mean**2

        smallest = np.log(_SMALLEST_TAIL)
        return 0.0 if excess(smallest) < 0 else 2 * float(np.exp(brentq(excess, smallest, np.log(0.5), xtol=1e-12)))

    def _square(self, tail: float) -> float:
        """Return the squared half width that leaves ``tail`` on either side."""
        from scipy.special import stdtrit  # the distribution's own object takes 50 times as long

        squares = [float(stdtrit(freedom, tail)) ** 2 for _, freedom in self.parts]
        whole = [square * variance for square, (variance, _) in zip(squares, self.parts, strict=True)]
        less = [
            square * max(0.0, variance - self.residual)
            for square, (variance, _) in zip(squares, self.parts, strict=True)
        ]
        return max(sum(whole) - whole[i] + less[i] for i in range(len(whole)))


def crossed(figures: Mapping[Pair, float]) -> Crossed:
    """Return the parts of the variance of the mean of ``figures``, {(seed, draw): figure}, at least one.

    Raises:
        ValueError: there are none.
    """
    if not figures:
        raise ValueError("no figures to take the mean of")
    values = np.array(list(figures.values()), dtype=float)
    floor = NEGLIGIBLE * float(np.max(np.abs(values))) ** 2
    seeds, draws = (sorted({pair[place] for pair in figures}) for place in (0, 1))
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Crossed(mean, n, 1, 1, ())
    if min(len(seeds), len(draws)) == 1 or max(len(seeds), len(draws)) == n == min(len(seeds), len(draws)):
        return Crossed(mean, n, len(seeds), len(draws), ((_variance_of_mean(values, floor), n - 1),))
    table = np.full((len(seeds), len(draws)), np.nan)
    for (seed, draw), value in figures.items():
        table[seeds.index(seed), draws.index(draw)] = value
    by_seed, by_draw = np.nanmean(table, axis=1), np.nanmean(table, axis=0)
    parts = tuple((_variance_of_mean(means, floor), len(means) - 1) for means in (by_seed, by_draw))
    if np.isnan(table).any():
        return Crossed(mean, n, len(seeds), len(draws), parts)
    left = table - by_seed[:, None] - by_draw + mean
    residual = float((left**2).sum()) / ((len(seeds) - 1) * (len(draws) - 1) * n)
    return Crossed(mean, n, len(seeds), len(draws), parts, residual if residual > floor else 0.0)


def _variance_of_mean(values: NDArray[Any], floor: float) -> float:
    variance = float(values.var(ddof=1)) / len(values)
    return variance if variance > floor else 0.0
