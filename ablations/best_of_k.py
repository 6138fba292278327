"""What a smaller tuning budget would have found: the trial that k random ones of a search's trials choose.

The k trials are drawn without replacement from the n that were made, and the one with the best objective is chosen.
The chance that the trial with the i-th smallest objective is that one is C(i - 1, k - 1) / C(n, k), so expectation and
quantiles are exact; nothing is resampled. Dodge et al., Show Your Work, EMNLP 2019, arXiv:1909.03004, draw with
replacement, which at k = n still expects less than the best that was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.outcome import TrialOutcome

BAND = (0.1, 0.9)


@dataclass(frozen=True)
class BestOfK:
    """What k = 1 .. n trials find, (n,) each, in percent.

    Attributes:
        test: expected test mAP of the chosen trial; empty if trials have none.
        low: below which a tenth of the searches of k trials ends, of test mAP.
        high: above which a tenth ends.
        objective: expected objective of the chosen trial.
    """

    test: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    objective: tuple[float, ...]


def best_of_k(trials: Sequence[TrialOutcome]) -> BestOfK | None:
    """Return what searches of k of these trials would find; None if no trial is complete.

    A trial that is not complete takes part in the draw and is never chosen; draws of nothing else are left out.
    Trials with equal objectives are chosen equally often.
    """
    done = [trial for trial in trials if trial.complete and trial.objective is not None]
    if not done:
        return None
    objectives = np.array([trial.objective for trial in done], dtype=float)
    order = np.argsort(objectives, kind="stable")
    chances = _shared(_chances(len(trials), len(done)), objectives[order])  # (n, done)
    objective = tuple(_expected(row, objectives[order]) for row in chances)
    if any(trial.test_map is None for trial in done):
        return BestOfK((), (), (), objective)
    tests = np.array([trial.test_map for trial in done], dtype=float)[order]
    bands = [[_quantile(row, tests, share) for row in chances] for share in BAND]
    return BestOfK(tuple(_expected(row, tests) for row in chances), tuple(bands[0]), tuple(bands[1]), objective)


def _chances(n: int, done: int) -> NDArray[Any]:
    """Return for k = 1 .. n the chance that each complete trial, worst first, is chosen, (n, done)."""
    from scipy.special import gammaln

    below = n - done + np.arange(done)  # trials that each would beat, those that are not complete among them
    others = np.arange(n)[:, None]  # k - 1
    possible = others <= below
    left = np.where(possible, below - others, 0)
    logs = gammaln(below + 1) - gammaln(others + 1) - gammaln(left + 1)  # of C(below, k - 1), (n, done)
    logs = np.where(possible, logs, -np.inf)
    ways = np.exp(logs - logs.max(axis=1, keepdims=True))
    return ways / ways.sum(axis=1, keepdims=True)


def _shared(chances: NDArray[Any], ordered: NDArray[Any]) -> NDArray[Any]:
    """Share the chances of equal objectives among them."""
    same = (ordered[:, None] == ordered).astype(float)
    return chances @ (same / same.sum(axis=0))


def _expected(chances: NDArray[Any], values: NDArray[Any]) -> float:
    return fsum(chances * values)


def _quantile(chances: NDArray[Any], values: NDArray[Any], share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(chances[order])
    return float(values[order][min(len(order) - 1, int(np.searchsorted(reached, share - 1e-12)))])
