"""Ranks across blocks against scipy and scikit-posthocs, and the example of Demsar's paper."""

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats

from ablations.ranking import rank

# Demsar, JMLR 7, 2006, Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


def test_the_papers_own_example() -> None:
    found = rank(NAMES, [str(i) for i in range(14)], DEMSAR)
    assert found is not None
    assert found.average == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # The paper's 9.28 and 3.69 do not correct for ties; scipy and R do.
    assert found.chi_square == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).statistic)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.f == pytest.approx(13 * found.chi_square / (14 * 3 - found.chi_square))


def test_nemenyi_is_that_of_scikit_posthocs() -> None:
    figures = np.random.default_rng(0).normal(size=(8, 5)) + 0.8 * np.arange(5)
    found = rank("abcde", "12345678", figures)
    assert found is not None
    oracle = scikit_posthocs.posthoc_nemenyi_friedman(figures).to_numpy()
    np.testing.assert_allclose(found.p_nemenyi, oracle, atol=1e-6)
    apart = np.abs(np.subtract.outer(found.average, found.average)) > found.critical_difference
    np.testing.assert_array_equal(apart, np.array(found.p_nemenyi) < 0.05)


def test_equal_figures_share_their_ranks() -> None:
    found = rank("abc", "12", np.array([[5.0, 5.0, 1.0], [5.0, 4.0, 5.0]]))
    assert found is not None
    assert found.average == (1.5, 2.25, 2.25)


def test_the_same_order_everywhere_is_as_significant_as_can_be() -> None:
    found = rank("abc", "1234567", np.tile([3.0, 2.0, 1.0], (7, 1)))
    assert found is not None
    assert found.average == (1, 2, 3)
    assert found.chi_square == pytest.approx(14)
    assert found.p_iman_davenport == 0
    assert found.cliques() == [(0, 1), (1, 2)]  # critical difference 1.25


def test_two_treatments_have_ranks_but_no_friedman_and_one_block_has_nothing() -> None:
    found = rank("ab", "123", np.array([[1.0, 2.0]] * 3))
    assert found is not None
    assert found.average == (2, 1)
    assert found.chi_square is None
    assert found.p_iman_davenport is None
    assert rank("ab", "1", np.array([[1.0, 2.0]])) is None


def test_no_difference_at_all_is_one_clique_without_a_test() -> None:
    found = rank("abc", "12", np.ones((2, 3)))
    assert found is not None
    assert found.chi_square is None
    assert found.cliques() == [(0, 1, 2)]
