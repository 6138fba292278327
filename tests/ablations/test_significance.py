"""Tests by name and Holm's correction, against scipy and statsmodels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablations.significance import check_test, holm, p_value, spread
from plml.errors import ConfigError

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def pairs(values: list[float]) -> dict[tuple[int, int], float]:
    return {(i // 2, i % 2): value for i, value in enumerate(values)}


def sample(n: int, shift: float = 0.4) -> list[float]:
    return list(np.random.default_rng(n).normal(shift, 1, n))


@pytest.mark.parametrize("n", [2, 6, 30])
def test_paired_t_is_that_of_scipy(n: int) -> None:
    values = sample(n)
    oracle = stats.ttest_1samp(values, 0)
    assert p_value(pairs(values), "paired_t") == pytest.approx(oracle.pvalue)
    assert spread(pairs(values), "paired_t").interval() == pytest.approx(tuple(oracle.confidence_interval()))


@pytest.mark.parametrize("n", [3, 6, 12, 40])
def test_wilcoxon_is_that_of_scipy_and_has_its_bound(n: int) -> None:
    values = sample(n)
    assert p_value(pairs(values), "wilcoxon") == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    assert p_value(pairs([abs(v) for v in values]), "wilcoxon") == pytest.approx(2 / 2**n)


def test_wilcoxon_with_ties_is_exact_over_all_signs() -> None:
    values = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0])
    ranks = stats.rankdata(np.abs(values))
    sums = np.array([np.dot(signs, ranks) for signs in product((0, 1), repeat=6)])
    observed = ranks[values > 0].sum()
    expected = 2 * min(np.mean(sums >= observed), np.mean(sums <= observed))
    assert p_value(pairs(list(values)), "wilcoxon") == pytest.approx(expected)
    assert p_value(pairs([0.0, 0.0, 0.0]), "wilcoxon") == 1


@pytest.mark.parametrize("n", [2, 7])
def test_permutation_tries_all_signs(n: int) -> None:
    values = np.array(sample(n))
    oracle = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert p_value(pairs(list(values)), "permutation") == pytest.approx(oracle.pvalue)


def test_permutation_of_many_is_drawn_the_same_each_time_and_near_t() -> None:
    values = pairs(sample(40, 0.3))
    drawn = p_value(values, "permutation")
    assert drawn == p_value(values, "permutation")
    assert drawn == pytest.approx(p_value(values, "paired_t"), abs=0.01)


@pytest.mark.parametrize("test", ["crossed_t", "paired_t", "wilcoxon", "permutation"])
def test_one_pair_cannot_be_tested(test: str) -> None:
    assert p_value({(0, 0): 3.0}, check_test(test)) is None


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="test must be one of crossed_t, .* did you mean 'wilcoxon'"):
        check_test("wilcoxn")


@pytest.mark.parametrize("ps", [[0.04], [0.01, 0.04, 0.03], [0.2, 0.001, 0.02, 0.02, 0.9], [1.0, 0.6, 0.5]])
def test_holm_is_that_of_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


@given(PROBABILITIES, st.randoms(use_true_random=False))
def test_holm_keeps_order_and_only_raises(ps: list[float], random: object) -> None:
    adjusted = holm(ps)
    assert all(a is not None and p <= a <= 1 for a, p in zip(adjusted, ps, strict=True))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert [adjusted[i] for i in order] == sorted(a for a in adjusted if a is not None)
    shuffled = list(range(len(ps)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert holm([ps[i] for i in shuffled]) == [adjusted[i] for i in shuffled]


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([None]) == [None]
