"""The variance of a difference, learnt from all cells of a grid together.

With few label draws a single difference says next to nothing about how much draws matter to it. If seeds and draws
disturb every cell alike (same variances), all C cells tell of it: in the analysis of variance cells x seeds x draws
the interactions with cells have (C - 1)(S - 1) and (C - 1)(D - 1) degrees of freedom instead of S - 1 and D - 1, and

    Var(difference) = 2 (MS_cell x seed + MS_cell x draw - MS_cell x seed x draw) / (S D).

Where a cell varies more than others that is too small for it: with one of nine cells three times as variable, its own
comparison rejects in up to a fifth of grids without effect (``docs/statistics.md``). So this is for grids whose cells
are alike, and has to be asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.crossed import NEGLIGIBLE, Crossed, Pair


def pooled(cells: Sequence[dict[Pair, float]], mean: float) -> Crossed | None:
    """Return a difference of two of the cells, ``mean``, with its variance learnt from all of them.

    None if the cells do not have the same runs, each seed with each draw, at least two seeds (or draws), two cells.

    Args:
        cells: {(seed, draw): figure} of each.
        mean: of the difference.
    """
    pairs = sorted(cells[0]) if cells else []
    seeds, draws = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
    if len(cells) < 2 or len(pairs) != len(seeds) * len(draws) or any(set(cell) != set(pairs) for cell in cells):
        return None
    figures = np.array([[cell[pair] for pair in pairs] for cell in cells]).reshape(len(cells), len(seeds), len(draws))
    left = figures - figures.mean(axis=0)  # what seeds and draws do to all cells
    left -= left.mean(axis=(1, 2), keepdims=True)
    by_seed, by_draw = left.mean(axis=2, keepdims=True), left.mean(axis=1, keepdims=True)
    c, s, d = (size - 1 for size in left.shape)
    floor = NEGLIGIBLE * float(np.max(np.abs(figures))) ** 2
    parts = [
        (_variance(by_seed, c * s, floor) / len(seeds), c * s),
        (_variance(by_draw, c * d, floor) / len(draws), c * d),
    ]
    residual = _variance(left - by_seed - by_draw, c * s * d, floor) / len(pairs)
    kept = tuple((2 * variance, freedom) for variance, freedom in parts if freedom)
    return Crossed(mean, len(pairs), len(seeds), len(draws), kept, 2 * residual) if kept else None


def _variance(effects: NDArray[Any], freedom: int, floor: float) -> float:
    variance = float((effects**2).sum() / freedom) if freedom else 0.0
    return variance if variance > floor else 0.0
