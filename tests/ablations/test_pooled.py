"""The pooled variance is that of the three-way analysis of variance, and holds its level where cells are alike."""

import re
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from ablations.crossed import Pair, crossed
from ablations.outcome import GridOutcome
from ablations.pooled import pooled
from ablations.significance import holm
from ablations.summary import summarise

MakeGrid = Callable[[dict[str, dict[Pair, float]]], GridOutcome]


def draw(generator: np.random.Generator, cells: int, seeds: int, draws: int, effect: float = 0.0) -> np.ndarray:
    figures = generator.normal(size=(cells, seeds, draws)) + 2 * generator.normal(size=(cells, 1, draws))
    figures += 5 * generator.normal(size=(1, seeds, 1))
    figures[1:] += effect
    return figures


def tables(figures: np.ndarray) -> list[dict[Pair, float]]:
    return [{(i, j): float(cell[i, j]) for i, j in product(*map(range, cell.shape))} for cell in figures]


def test_parts_are_interactions_with_cells() -> None:
    import pandas as pd

    figures = draw(np.random.default_rng(0), 4, 3, 2)
    rows = [
        {"cell": f"c{c}", "seed": f"s{i}", "draw": f"d{j}", "y": figures[c, i, j]}
        for c, i, j in product(range(4), range(3), range(2))
    ]
    fit = ols("y ~ C(cell) + C(seed) * C(draw) + C(cell):C(seed) + C(cell):C(draw)", pd.DataFrame(rows)).fit()
    squares = {re.sub(r"[C()]", "", str(name)): value for name, value in anova_lm(fit)["mean_sq"].items()}
    found = pooled(tables(figures), 0.0)
    assert found is not None
    assert [freedom for _, freedom in found.parts] == [6, 3]
    expected = [2 * squares["cell:seed"] / 6, 2 * squares["cell:draw"] / 6]
    assert [variance for variance, _ in found.parts] == pytest.approx(expected)
    assert found.residual == pytest.approx(2 * squares["Residual"] / 6)


def test_two_cells_and_one_draw_are_the_paired_t_test() -> None:
    figures = draw(np.random.default_rng(1), 2, 5, 1)
    difference = (figures[1] - figures[0]).ravel()
    found = pooled(tables(figures), float(difference.mean()))
    assert found is not None
    assert found.p_value() == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)


def test_what_cannot_be_pooled() -> None:
    whole = tables(draw(np.random.default_rng(2), 3, 2, 2))
    assert pooled(whole[:1], 1.0) is None
    assert pooled([whole[0], {pair: v for pair, v in whole[1].items() if pair != (0, 0)}], 1.0) is None
    assert pooled([{(0, 0): 1.0, (1, 1): 2.0}, {(0, 0): 2.0, (1, 1): 3.0}], 1.0) is None
    assert pooled([{(0, 0): 1.0}, {(0, 0): 2.0}], 1.0) is None


@pytest.mark.parametrize("draws", [1, 2])
def test_what_rounding_leaves_is_no_variance(draws: int) -> None:
    pairs = list(product(range(3), range(draws)))
    cells = [dict.fromkeys(pairs, figure) for figure in (65.0, 33.0, 65.0)]  # whose mean is no binary fraction
    found = pooled(cells, -32.0)
    assert found is not None
    assert found.p_value() is None
    assert found.interval() == (-32.0, -32.0)


def test_level_and_power_with_two_draws() -> None:
    generator = np.random.default_rng(3)

    def found(effect: float) -> tuple[float, float]:
        """How often any of five cells is significant: pooled, each by itself."""
        hits = np.zeros(2)
        for _ in range(60):
            base, *others = cells = tables(draw(generator, 6, 3, 2, effect))
            differences = [{pair: cell[pair] - base[pair] for pair in base} for cell in others]
            together = [pooled(cells, float(np.mean(list(one.values())))) for one in differences]
            ps = ([p.p_value() for p in together if p], [crossed(one).p_value() for one in differences])
            hits += [any(p is not None and p < 0.05 for p in holm(each)) for each in ps]
        return tuple(hits / 60)  # type: ignore[return-value]

    assert max(found(0.0)) <= 0.15
    pooled_power, own_power = found(9.0)
    assert pooled_power > own_power + 0.3


def test_a_cell_that_lacks_a_run_has_a_variance_of_its_own(make_grid: MakeGrid) -> None:
    cells = tables(50 + draw(np.random.default_rng(4), 4, 3, 2))
    del cells[3][2, 1]
    grid = make_grid({f"c{i}": cell for i, cell in enumerate(cells)})
    one, other = (summarise(grid, test=test).cells for test in ("pooled_t", "crossed_t"))
    assert one[3].difference.p == other[3].difference.p  # type: ignore[union-attr]
    assert one[1].difference.p != other[1].difference.p  # type: ignore[union-attr]
