"""Means over crossed seeds and draws: worked cases, the t test where there is one factor, and how often it is wrong."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from ablations.crossed import crossed


def table(values: np.ndarray) -> dict[tuple[int, int], float]:
    return {(i, j): float(values[i, j]) for i, j in product(*map(range, values.shape))}


def test_worked_by_hand() -> None:
    # Means by seed 2, 4, by draw 1, 5; residuals -+1. V_seed = 2 / 2 = 1, V_draw = 8 / 2 = 4, MS_residual = 4,
    # V_residual = 4 / 4 = 1. With one degree of freedom each and t = t_1: h^2 = t^2 max(0 + 4, 1 + 3) = 4 t^2.
    found = crossed(table(np.array([[1.0, 3.0], [1.0, 7.0]])))
    assert found.mean == 3
    assert found.parts == ((1.0, 1), (4.0, 1))
    assert found.residual == pytest.approx(1.0)
    t = stats.t.isf(0.025, 1)
    assert found.half_width() == pytest.approx(2 * t)
    assert found.interval() == pytest.approx((3 - 2 * t, 3 + 2 * t))
    assert found.p_value() == pytest.approx(2 * stats.t.sf(3 / 2, 1))


def test_parts_are_mean_squares_of_the_two_way_analysis_of_variance() -> None:
    import pandas as pd

    values = np.random.default_rng(0).normal(size=(5, 3)) + np.arange(3)
    rows = [{"seed": f"s{i}", "draw": f"d{j}", "y": values[i, j]} for i, j in product(range(5), range(3))]
    anova = anova_lm(ols("y ~ C(seed) + C(draw)", pd.DataFrame(rows)).fit())
    squares = anova["mean_sq"]
    found = crossed(table(values))
    assert [variance for variance, _ in found.parts] == pytest.approx(
        [squares["C(seed)"] / 15, squares["C(draw)"] / 15]
    )
    assert found.residual == pytest.approx(squares["Residual"] / 15)


@pytest.mark.parametrize("shape", [(6, 1), (1, 4)])
def test_one_draw_or_one_seed_is_the_paired_t_test(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(0.5, 1, shape)
    oracle = stats.ttest_1samp(values.ravel(), 0)
    found = crossed(table(values))
    assert found.p_value() == pytest.approx(oracle.pvalue)
    assert found.interval() == pytest.approx(tuple(oracle.confidence_interval()))


def test_runs_that_share_nothing_are_independent() -> None:
    values = [1.0, 2.5, 0.3, 1.7]
    found = crossed({(i, 10 + i): value for i, value in enumerate(values)})
    assert found.p_value() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_missing_pairs_use_means_by_seed_and_by_draw_and_no_residual() -> None:
    figures = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 4.0, (2, 0): 5.0, (2, 1): 3.0}
    found = crossed(figures)
    assert found.mean == 3
    assert found.residual == 0
    assert found.parts[0] == (pytest.approx(np.var([1.5, 4.0, 4.0], ddof=1) / 3), 2)
    assert found.parts[1] == (pytest.approx(np.var([10 / 3, 2.5], ddof=1) / 2), 1)
    assert (found.n, found.seeds, found.draws) == (5, 3, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 4), st.floats(-3, 3), st.floats(0.1, 50))
def test_laws(seed: int, seeds: int, draws: int, shift: float, scale: float) -> None:
    values = np.random.default_rng(seed).normal(size=(seeds, draws)) + shift
    found = crossed(table(values))
    p, half = found.p_value(), found.half_width()
    assert p is not None
    assert half is not None
    low, high = found.interval() or (0.0, 0.0)
    assert (p < 0.05) == (not low <= 0 <= high)  # the test and the interval are one
    assert crossed(table(values.T)).p_value() == pytest.approx(p)  # seeds and draws are alike
    assert crossed(table(-values[::-1])).p_value() == pytest.approx(p)
    assert crossed(table(scale * values)).p_value() == pytest.approx(p)
    assert found.half_width(0.99) > half  # type: ignore[operator]
    smaller = min(seeds, draws) - 1
    widest = sum(variance for variance, _ in found.parts)
    assert half <= stats.t.isf(0.025, smaller) * np.sqrt(widest) * (1 + 1e-9)


def test_what_cannot_be_tested() -> None:
    assert crossed({(0, 0): 2.0}).p_value() is None
    assert crossed({(0, 0): 2.0}).interval() is None
    assert crossed(table(np.full((3, 2), 0.7))).p_value() is None  # the same difference each time: no spread
    assert crossed(table(np.zeros((3, 2)))).p_value() == 1
    with pytest.raises(ValueError, match="no figures"):
        crossed({})


def test_overwhelming_evidence_is_zero_not_an_error() -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=(30, 30))
    assert crossed(table(values)).p_value() == pytest.approx(0, abs=1e-60)
