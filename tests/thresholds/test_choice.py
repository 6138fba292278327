"""Thresholds against brute force, by hand, and in limiting cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plml.errors import DataError
from plml.thresholds.choice import LEANING, CriterionName, Scope, choose_thresholds
from plml.thresholds.label_estimates import LabelEstimates

CRITERIA: tuple[CriterionName, ...] = ("f1", "lee_liu", "cardinality")
SEEDS = st.integers(0, 10**6)


def known(labels: torch.Tensor) -> LabelEstimates:
    return LabelEstimates((labels == 1).double(), labels >= 0)


def draw(seed: int, images: int = 30, classes: int = 4) -> tuple[torch.Tensor, LabelEstimates]:
    """Scores with ties, weighted estimates, some entries that do not count."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.integers(-8, 9, (images, classes)) / 2.0)
    counted = torch.from_numpy(rng.random((images, classes)) < 0.9)
    values = torch.from_numpy(rng.choice([0.0, 0.0, 1.0, 2.5], (images, classes))).where(counted, 0.0)
    return logits, LabelEstimates(values, counted)


def worth(criterion: str, logits: np.ndarray, values: np.ndarray, cut: float) -> float:
    """One threshold on one row of entries that all count, as the equations say."""
    above = [place for place in range(len(logits)) if logits[place] >= cut]
    positives = sum(values)
    found = sum(values[place] for place in above)
    if criterion == "lee_liu":
        return (found / positives) ** 2 / (len(above) / len(logits))
    hits = min(found, len(above), positives)
    if criterion == "f1":
        return 2 * hits / (positives + len(above))
    return -abs(len(above) - positives)


@pytest.mark.parametrize("criterion", CRITERIA)
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_no_threshold_is_better(criterion: CriterionName, seed: int) -> None:
    logits, estimates = draw(seed)
    if float(estimates.values.sum()) == 0:
        return
    chosen = choose_thresholds(logits, estimates, criterion=criterion, leaning=0.0)
    for column in range(logits.shape[1]):
        kept = estimates.counted[:, column]
        scores, values = logits[kept, column].numpy(), estimates.values[kept, column].numpy()
        if values.sum() == 0:
            continue
        best = max(worth(criterion, scores, values, cut) for cut in scores)
        assert worth(criterion, scores, values, float(chosen.logits[column])) == pytest.approx(best)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_one_threshold_is_that_of_all_entries_in_a_row(criterion: CriterionName) -> None:
    logits, estimates = draw(3)
    together = choose_thresholds(logits, estimates, criterion=criterion, scope="global")
    assert len(together.logits.unique()) == 1
    kept = estimates.counted
    row = LabelEstimates(estimates.values[kept][:, None], torch.ones_like(estimates.values[kept][:, None]).bool())
    alone = choose_thresholds(logits[kept][:, None], row, criterion=criterion, leaning=0.0)
    assert float(together.logits[0]) == float(alone.logits[0])


@pytest.mark.parametrize("scope", ["class", "global"])
@pytest.mark.parametrize("criterion", CRITERIA)
@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_decisions_depend_on_nothing_but_the_order_of_scores(criterion: CriterionName, scope: str, seed: int) -> None:
    logits, estimates = draw(seed)
    stretched = logits**3 + 2 * logits
    decided = [
        scores >= choose_thresholds(scores, estimates, criterion=criterion, scope=scope).logits  # type: ignore[arg-type]
        for scores in (logits, stretched)
    ]
    # Of entries that count: a cut lies half-way between two of them, and others may lie there too.
    assert torch.equal(*(one[estimates.counted] for one in decided))


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_neither_the_order_of_images_nor_that_of_classes_matters(seed: int) -> None:
    logits, (values, counted) = draw(seed)
    rows = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    columns = torch.tensor([2, 0, 3, 1])
    plain = choose_thresholds(logits, LabelEstimates(values, counted)).logits
    moved = choose_thresholds(
        logits[rows][:, columns], LabelEstimates(values[rows][:, columns], counted[rows][:, columns])
    ).logits
    torch.testing.assert_close(moved, plain[columns])


@pytest.mark.parametrize("leaning", [0.0, LEANING])
@pytest.mark.parametrize("weight", [1.0, 1.4, 2.0, 3.0])
def test_lee_and_liu_need_not_know_how_much_a_positive_counts(weight: float, leaning: float) -> None:
    logits = torch.tensor([[4.0], [3.0], [2.0], [1.0], [0.0]])
    seen = torch.tensor([[1.0], [0.0], [1.0], [0.0], [0.0]])
    estimates = LabelEstimates(seen * weight, torch.ones_like(seen).bool())
    chosen = choose_thresholds(logits, estimates, criterion="lee_liu", leaning=leaning)
    # Worth at the two seen positives, of N = 5: (1/2)^2 / (1/5) = 1.25 and 1 / (3/5) = 1.67.
    assert float(chosen.logits) == 1.5


@pytest.mark.parametrize("scope", ["class", "global"])
@given(seed=SEEDS, weight=st.sampled_from([0.25, 0.5, 2.0, 4.0, 8.0]))  # powers of two: exact, so ties stay ties
@settings(max_examples=25, deadline=None)
def test_lee_and_liu_choose_the_same_for_every_weight(scope: Scope, seed: int, weight: float) -> None:
    logits, (values, counted) = draw(seed)
    seen = (values > 0).double()
    plain, weighted = (
        choose_thresholds(logits, LabelEstimates(seen * one, counted), criterion="lee_liu", scope=scope).logits
        for one in (1.0, weight)
    )
    torch.testing.assert_close(weighted, plain)


def test_a_class_leans_by_its_seen_positives_whatever_they_count() -> None:
    """Twice the weight, and twice as many predicted: where classes lean the same, so does the place in the ranking."""
    logits = torch.arange(40.0).flip(0)[:, None].repeat(1, 2)
    seen = torch.zeros(40, 2)
    seen[[0, 3, 5], 0] = 1.0
    seen[:20, 1] = 1.0
    everything = torch.ones_like(seen).bool()
    for weight in (1.0, 2.0):
        values = weight * seen
        unit = float((values**2).sum() / values.sum())
        assert unit == weight
        chosen = choose_thresholds(logits, LabelEstimates(values, everything))
        # N(t) + share * N_all(t) nearest to P + leaning, with share = leaning / P_all, by brute force.
        share = LEANING * weight / float(values.sum())
        own, pooled = torch.arange(1, 41), torch.arange(2, 81, 2)
        for column in range(2):
            target = float(values[:, column].sum()) + LEANING * weight
            place = int((own + share * pooled - target).abs().argmin())
            assert float(chosen.logits[column]) == float(logits[place, 0]) - 0.5


def test_by_hand() -> None:
    """F1 at 3, 2, 1, 0: 2/3, 1/2, 4/5, 2/3. Two positives: cardinality cuts below the second score."""
    logits = torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    estimates = known(torch.tensor([[1], [0], [1], [0]]))
    by_f1 = choose_thresholds(logits, estimates, criterion="f1", leaning=0.0)
    assert float(by_f1.logits) == 0.5
    assert (float(by_f1.precision), float(by_f1.recall)) == pytest.approx((2 / 3, 1.0))
    assert float(by_f1.f1) == pytest.approx(0.8)
    by_count = choose_thresholds(logits, estimates, criterion="cardinality", leaning=0.0)
    assert float(by_count.logits) == 1.5
    assert float(by_count.precision) == float(by_count.recall) == 0.5


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_perfect_model_is_cut_between_the_two_kinds(criterion: CriterionName) -> None:
    labels = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1]])
    choice = choose_thresholds(4.0 * labels - 2.0, known(labels), criterion=criterion)
    assert choice.logits.tolist() == [0.0, 0.0]
    assert choice.f1.tolist() == [1.0, 1.0]


def test_a_class_without_positives_takes_the_threshold_of_all() -> None:
    logits = torch.tensor([[3.0, 5.0], [2.0, -5.0], [-1.0, 4.0]])
    labels = torch.tensor([[1, 0], [1, 0], [0, 0]])
    choice = choose_thresholds(logits, known(labels))
    together = choose_thresholds(logits, known(labels), scope="global")
    assert float(choice.logits[1]) == float(together.logits[0])
    assert choice.recall.tolist()[1] == 0.0


def test_few_labels_lean_on_the_other_classes() -> None:
    """One positive in the middle of its class: alone it decides, beside a class with forty it does not."""
    scores = torch.linspace(-3, 3, 61)
    clear = (scores > 0).long()
    lonely = torch.zeros(61, dtype=torch.long)
    lonely[10] = 1
    logits = torch.stack([scores, scores], dim=1)
    estimates = known(torch.stack([clear, lonely], dim=1))
    alone = choose_thresholds(logits, estimates, criterion="f1", leaning=0.0).logits
    leaning = choose_thresholds(logits, estimates, criterion="f1").logits
    assert float(alone[1]) < float(scores[10]) + 1e-6
    assert abs(float(leaning[1])) < 0.2
    assert float(leaning[0]) == float(alone[0])


def test_seen_positives_are_counted_whatever_they_count_for() -> None:
    labels = torch.zeros(60, 3)
    labels[:20, 0] = 1.0
    labels[:14, 1] = 1.0
    everything = torch.ones_like(labels).bool()
    logits = torch.linspace(3, -3, 60)[:, None].repeat(1, 3)
    for weight in (1.0, 1.7):
        choice = choose_thresholds(logits, LabelEstimates(weight * labels, everything))
        assert choice.seen.tolist() == pytest.approx([20, 14, 0])
        assert choice.rough.tolist() == [False, True, True]
    together = choose_thresholds(logits, LabelEstimates(labels, everything), scope="global")
    assert together.seen.tolist() == [34, 34, 34]
    assert not together.rough.any()


def test_many_candidates_of_which_few_are_positive_are_few_seen_positives() -> None:
    """35 of 60 are candidates, at a rate of 0.5: 10 positives, known no better than two that are seen."""
    values = torch.full((60, 1), -1.0)  # (s - a) / (1 - a)
    values[:35] = 1.0
    choice = choose_thresholds(torch.linspace(3, -3, 60)[:, None], LabelEstimates(values, values.isfinite()))
    assert float(choice.positives) == 10
    assert float(choice.seen) == pytest.approx(10**2 / 60)
    assert bool(choice.rough)


def test_nothing_to_go_by_is_told() -> None:
    logits = torch.zeros(3, 2)
    with pytest.raises(DataError, match="no label of the validation split"):
        choose_thresholds(logits, known(torch.zeros(3, 2).long()))
    with pytest.raises(DataError, match="no label of the validation split"):
        choose_thresholds(logits, known(torch.full((3, 2), -1)))
