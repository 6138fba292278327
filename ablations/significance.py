"""Is a difference more than luck: tests of paired differences, and Holm's correction for asking many times."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ablations.crossed import Crossed, Pair, crossed
from plml.errors import ConfigError, nearest

TestName = Literal["crossed_t", "pooled_t", "paired_t", "wilcoxon", "permutation"]
T_TESTS = ("crossed_t", "pooled_t", "paired_t")
ENUMERATED = 16  # differences up to which all 2^n signs are tried
SIGN_DRAWS = 20_000

DESCRIPTIONS: dict[str, str] = {
    "crossed_t": "t test for crossed seeds and label draws",
    "pooled_t": "t test with variances pooled over all cells, which supposes that all vary alike",
    "paired_t": "paired t test",
    "wilcoxon": "Wilcoxon signed-rank test",
    "permutation": "sign-flip permutation test",
}
Differences = Mapping[Pair, float]


def check_test(name: str) -> TestName:
    """Return the name if it is that of a test.

    Raises:
        ConfigError: it is not.
    """
    for known in get_args(TestName):
        if name == known:
            return known
    raise ConfigError(f"test must be one of {', '.join(DESCRIPTIONS)}, got '{name}'{nearest(name, DESCRIPTIONS)}")


def spread(differences: Differences, test: TestName = "crossed_t") -> Crossed:
    """Return mean and interval of the differences, {(seed, draw): percent}; ``paired_t`` takes them as independent."""
    if test == "paired_t":
        differences = {(place, place): value for place, value in enumerate(differences.values())}
    return crossed(differences)


def p_value(differences: Differences, test: TestName = "crossed_t") -> float | None:
    """Return the two-sided p of "the cell is like the baseline".

    None where the test cannot say anything: a single pair, or (t tests) differences that are all the same and not 0.

    Args:
        differences: {(seed, draw): figure of the cell minus figure of the baseline}, at least one.
        test: ``crossed_t`` allows for differences that share a seed or a draw, see :mod:`ablations.crossed`;
            ``pooled_t`` is the same here, for it needs all cells, see :mod:`ablations.pooled`. The others take
            differences as independent and are too liberal where draws matter: ``paired_t``; ``wilcoxon``, which with
            n pairs cannot get below 2 / 2^n, so that five pairs never reach 0.05; ``permutation`` of the signs (all
            2^n of them up to 16 pairs, else 20,000 draws), with the same bound.
    """
    if test in T_TESTS:
        return spread(differences, test).p_value()
    if len(differences) < 2:
        return None
    return _RANDOMISED[test](np.array(list(differences.values()), dtype=float))


def _wilcoxon(values: NDArray[Any]) -> float:
    from scipy.stats import PermutationMethod, wilcoxon

    values = values[values != 0]  # Wilcoxon's own way with zeros
    if not len(values):
        return 1.0
    tied = len(np.unique(np.abs(values))) < len(values)
    if not tied and len(values) <= 50:
        return float(wilcoxon(values, method="exact").pvalue)
    if len(values) <= ENUMERATED:
        return float(wilcoxon(values, method=PermutationMethod(n_resamples=2**ENUMERATED)).pvalue)
    return float(wilcoxon(values, method="asymptotic").pvalue)


def _permutation(values: NDArray[Any]) -> float:
    signs, observed = _signs(len(values)), abs(values.sum())
    reached = np.sum(np.abs(signs @ values) >= observed * (1 - 1e-12))  # the same terms in another order
    return float(reached / len(signs)) if len(values) <= ENUMERATED else float((1 + reached) / (1 + len(signs)))


@lru_cache(maxsize=4)
def _signs(n: int) -> NDArray[Any]:
    """All signs of n values, or 20,000 drawn ones, one choice a row."""
    if n <= ENUMERATED:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(SIGN_DRAWS, n))


_RANDOMISED: dict[str, Callable[[NDArray[Any]], float]] = {"wilcoxon": _wilcoxon, "permutation": _permutation}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values that hold for all comparisons together, in the same order; those that are None stay so.

    Holm, Scandinavian Journal of Statistics 6, 1979: the smallest of m is multiplied by m, the next by m - 1, ...,
    and none gets smaller than one before it. Holds whatever the dependence, as between differences to one baseline.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return adjusted
