"""Expected best of k trials, by trying every choice of k."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.best_of_k import best_of_k
from ablations.outcome import TrialOutcome


def trial(objective: float | None, test: float | None, complete: bool = True) -> TrialOutcome:
    return TrialOutcome("t", objective, test, complete)


def by_trying(trials: list[TrialOutcome], k: int) -> tuple[float, float]:
    """Mean test mAP and objective of the choice of every k trials; ties of the objective are averaged."""
    tests, objectives = [], []
    for some in combinations(trials, k):
        done = [t for t in some if t.complete]
        if not done:
            continue
        best = max(t.objective for t in done)
        tests.append(np.mean([t.test_map for t in done if t.objective == best]))
        objectives.append(best)
    return float(np.mean(tests)), float(np.mean(objectives))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.floats(0, 100), st.booleans()).map(lambda t: trial(float(t[0]), t[1], t[2])),
        min_size=1,
        max_size=7,
    )
)
def test_expectation_is_the_mean_over_all_choices(trials: list[TrialOutcome]) -> None:
    found = best_of_k(trials)
    if not any(t.complete for t in trials):
        assert found is None
        return
    assert found is not None
    # Ties: averaged over the tied ones present, which by symmetry is averaged over all tied ones.
    for k in range(1, len(trials) + 1):
        test, objective = by_trying(trials, k)
        assert found.test[k - 1] == pytest.approx(test)
        assert found.objective[k - 1] == pytest.approx(objective)
        assert min(t.test_map for t in trials if t.complete) <= found.low[k - 1] <= found.high[k - 1]
    assert np.all(np.diff(found.objective) > -1e-9)


def test_the_whole_budget_finds_what_was_found() -> None:
    found = best_of_k([trial(1.0, 50.0), trial(3.0, 40.0), trial(2.0, 60.0)])
    assert found is not None
    assert found.test == pytest.approx((50.0, (60 + 40 + 40) / 3, 40.0))  # the objective may choose badly
    assert found.objective == pytest.approx((2.0, (2 + 3 + 3) / 3, 3.0))
    assert (found.low[2], found.high[2]) == (40.0, 40.0)


def test_band_is_of_the_distribution_of_the_chosen_trial() -> None:
    found = best_of_k([trial(float(i), float(i)) for i in range(1, 101)])
    assert found is not None
    assert (found.low[0], found.high[0]) == (10.0, 90.0)
    low, high = (100 * share ** (1 / 10) for share in (0.1, 0.9))
    assert (found.low[9], found.high[9]) == (pytest.approx(low, abs=2), pytest.approx(high, abs=2))


def test_large_searches_do_not_overflow() -> None:
    found = best_of_k([trial(float(i), float(i)) for i in range(400)])
    assert found is not None
    assert found.test[0] == pytest.approx(199.5)
    assert found.test[-1] == pytest.approx(399)


def test_without_test_scores_the_objective_remains() -> None:
    found = best_of_k([trial(1.0, None), trial(2.0, 3.0), trial(None, None, complete=False)])
    assert found is not None
    assert found.test == ()
    assert len(found.objective) == 3
    assert best_of_k([]) is None
