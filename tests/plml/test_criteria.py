"""Corrected AP, PU-AUC and the loss: by hand, against formulas written out, by simulation, and what must not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, Mechanism, SeenIndependently
from plml.metrics import known_mean_average_precision, mean_average_precision
from plml.selection import CRITERIA, criterion_value, criterion_values
from plml.standings import Evidence

quiet = settings(deadline=None, max_examples=40)
SINGLE = ChosenPerImage()


def single_positives(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One positive an image, uniformly; the rest is unknown."""
    chosen = (truth * (1e-9 + rng.random(truth.shape))).argmax(1)
    observed = np.full(truth.shape, -1, dtype=np.int8)
    rows = np.flatnonzero(truth.any(1))
    observed[rows, chosen[rows]] = 1
    return observed


def world(count: int = 60, classes: int = 5, seed: int = 0, decimals: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Truth (N, L) in which classes come together, and scores that know something of it."""
    rng = np.random.default_rng(seed)
    crowded = rng.random((count, 1)) < 0.4
    truth = (rng.random((count, classes)) < np.where(crowded, 0.6, 0.15)).astype(np.int8)
    truth[np.arange(count), rng.integers(0, classes, count)] = 1
    return truth, np.round(truth + rng.normal(0, 0.8, truth.shape), decimals)


def value(name, scores, labels, **evidence) -> float:
    tensors = {key: torch.as_tensor(item) if key == "cardinality" else item for key, item in evidence.items()}
    return criterion_value(name, torch.as_tensor(scores).double(), Evidence(torch.as_tensor(labels), **tensors))


def ipw_loo(seen, k, scores) -> float:
    """The published proposal, image by image: precision of an observed positive, itself certain, others weighted."""
    aps = []
    for c in range(seen.shape[1]):
        total = weight = 0.0
        for i in np.flatnonzero(seen[:, c] == 1):
            at_least = scores[:, c] >= scores[i, c]
            others = sum(k[j] for j in np.flatnonzero(at_least & (seen[:, c] == 1)) if j != i)
            total += k[i] * (1 + others) / at_least.sum()
            weight += k[i]
        if weight:
            aps.append(total / weight)
    return 100 * float(np.mean(aps))


def denoised(candidates, rate, scores) -> float:
    """The published proposal, rank by rank, without ties."""
    order = np.argsort(-scores, axis=0)
    rank = np.arange(1, len(scores) + 1)[:, None]
    y = np.take_along_axis((candidates - rate) / (1 - rate), order, 0)
    found = y.cumsum(0)
    recall = np.maximum.accumulate(np.clip(found / np.maximum(y.sum(0), 1), 0, 1), 0)
    return 100 * float((np.diff(recall, axis=0, prepend=0) * np.clip(found / rank, 0, 1)).sum(0).mean())


SCORES = np.array([[4.0, 0, 0], [3.0, 0, 0], [2.0, 0, 0], [1.0, 0, 0]])
SEEN = np.array([[1, -1, -1], [-1, -1, -1], [1, -1, -1], [-1, -1, -1]], dtype=np.int8)


def test_corrected_ap_of_single_positives_by_hand():
    # First: certain, nothing above it: 1 / 1. Third: itself and the 3 that the first one stands for: (1 + 3) / 3.
    expected = 100 * (3 * 1 + 2 * 4 / 3) / 5
    assert value("corrected_ap", SCORES, SEEN, mechanism=SINGLE, cardinality=[3.0, 1, 2, 1]) == pytest.approx(expected)


def test_weights_that_are_not_exact_are_cut_at_precision_one():
    def declared(k):
        return value("corrected_ap", SCORES, SEEN, mechanism=SINGLE, cardinality=[k] * 4, exact=False)

    assert declared(1.0) == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert declared(1.5) == pytest.approx(100 * (1 + 2.5 / 3) / 2)
    assert declared(3.0) == pytest.approx(100.0)  # (1 + 3) / 3 would be above 1


def test_corrected_ap_of_candidates_by_hand():
    scores = np.array([[4.0], [3.0], [2.0], [1.0]])
    labels = np.array([[-1], [0], [-1], [0]], dtype=np.int8)
    # rho = 1/4: TP(1) = (1 - 1/4) / (3/4) = 1, TP(3) = (2 - 3/4) / (3/4) = 5/3, all: (2 - 1) / (3/4) = 4/3.
    # Recall 3/4, then 5/4 cut to 1; precision 1, then 5/9.
    found = value("corrected_ap", scores, labels, mechanism=CandidateNoise(0.25), rate=0.25)
    assert found == pytest.approx(100 * (3 / 4 * 1 + 1 / 4 * 5 / 9))


@pytest.mark.parametrize("seed", range(3))
def test_corrected_ap_equals_the_formulas_written_out(seed):
    truth, scores = world(seed=seed)
    rng = np.random.default_rng(seed)
    seen, k = single_positives(truth, rng), truth.sum(1).astype(float)
    found = value("corrected_ap", scores, seen, mechanism=SINGLE, cardinality=k)
    assert found == pytest.approx(ipw_loo(seen, k, scores))
    candidates = np.where((truth == 1) | (rng.random(truth.shape) < 0.2), -1, 0).astype(np.int8)
    found = value("corrected_ap", scores, candidates, mechanism=CandidateNoise(0.2), rate=0.2)
    assert found == pytest.approx(denoised((candidates == -1).astype(float), 0.2, scores))


def test_ties_share_one_threshold():
    truth, scores = world(decimals=0)
    k = truth.sum(1).astype(float)
    seen = single_positives(truth, np.random.default_rng(1))
    assert len(np.unique(scores)) < 10
    found = value("corrected_ap", scores, seen, mechanism=SINGLE, cardinality=k)
    assert found == pytest.approx(ipw_loo(seen, k, scores))


def setting(name: str, truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, object]]:
    """Observed labels of a setting, and the evidence of corrected AP."""
    if name == "single":
        return single_positives(truth, rng), {"mechanism": SINGLE, "cardinality": truth.sum(1).astype(float)}
    if name == "missing":
        seen = (truth == 1) & (rng.random(truth.shape) < 0.5)
        return np.where(seen, 1, -1).astype(np.int8), {"mechanism": SeenIndependently(0.5)}
    if name == "known":
        known = rng.random(truth.shape) < 0.5
        return np.where(known, truth, -1).astype(np.int8), {"mechanism": KnownAtRandom()}
    candidates = (truth == 1) | (rng.random(truth.shape) < 0.2)
    return np.where(candidates, -1, 0).astype(np.int8), {"mechanism": CandidateNoise(0.2), "rate": 0.2}


@pytest.mark.parametrize(
    ("name", "observed_error"), [("single", 10), ("missing", 10), ("known", 10), ("candidates", 1)]
)
def test_corrected_ap_is_right_on_average_where_observed_map_is_not(name, observed_error):
    """Mean over draws within four standard errors, and half a point for the ratio of sums, of the AP of the truth."""
    truth, scores = world(count=800, classes=4, seed=3)
    expected = mean_average_precision(torch.as_tensor(scores), torch.as_tensor(truth)).item()
    rng = np.random.default_rng(0)
    corrected, observed = [], []
    for _ in range(60):
        labels, evidence = setting(name, truth, rng)
        corrected.append(value("corrected_ap", scores, labels, **evidence))
        observed.append(value("map", scores, labels, **evidence))
    error = abs(np.mean(corrected) - expected)
    assert error < 4 * np.std(corrected) / np.sqrt(60) + 0.5
    assert abs(np.mean(observed) - expected) > max(observed_error, 5 * error)


def test_numerator_is_unbiased_without_any_allowance():
    """With as many positives in every class as sums of weights on average, the mean of 4000 draws meets the truth."""
    truth, scores = world(count=20, classes=3, seed=5)
    k, rng = truth.sum(1).astype(float), np.random.default_rng(2)
    seen = np.stack([single_positives(truth, rng) == 1 for _ in range(4000)])  # (draws, N, L)
    at_least = scores[None] >= scores[:, None]  # (i, j, L): j scores at least as high as i
    others = np.einsum("ijc,j,djc->dic", at_least, k, seen) - k[:, None] * seen
    sums = (seen * k[:, None] * (1 + others) / at_least.sum(1)).sum(1).mean(0)
    expected = [average_precision_score(truth[:, c], scores[:, c]) * truth[:, c].sum() for c in range(3)]
    assert sums == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["single", "missing", "known", "candidates"])
def test_nothing_lost_is_the_ap_of_the_truth(name):
    truth, scores = world()
    lost: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "single": (np.where(truth, 1, -1), {"mechanism": ChosenPerImage(None), "cardinality": truth.sum(1) * 1.0}),
        "missing": (np.where(truth, 1, -1), {"mechanism": SeenIndependently(1.0)}),
        "known": (truth, {"mechanism": KnownAtRandom()}),
        "candidates": (np.where(truth, -1, 0), {"mechanism": CandidateNoise(0.0)}),
    }
    labels, evidence = lost[name]
    expected = 100 * np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in range(5)])
    assert value("corrected_ap", scores, labels.astype(np.int8), **evidence) == pytest.approx(expected)


def test_one_positive_each_leaves_the_observed_ap():
    truth, scores = world()
    seen = single_positives(truth, np.random.default_rng(0))
    corrected = value("corrected_ap", scores, seen, mechanism=SINGLE, cardinality=np.ones(len(truth)))
    assert corrected == pytest.approx(value("map", scores, seen))


def test_a_model_that_ranks_by_chance_is_not_credited_with_many_positives():
    truth, scores = world(count=400)
    seen = single_positives(truth, np.random.default_rng(0))
    chance = np.random.default_rng(1).normal(size=scores.shape)
    for guessed in (scores, chance):
        estimated = value("corrected_ap", guessed, seen, mechanism=SINGLE)
        assert estimated >= value("map", guessed, seen) - 1e-9
    assert estimated == pytest.approx(value("map", chance, seen), abs=0.5)
    better = value("corrected_ap", truth + 0.1 * chance, seen, mechanism=SINGLE)
    level = 100.0
    assert abs(better - level) < 0.6 * abs(value("map", truth + 0.1 * chance, seen) - level)


def test_pu_auc_is_scikit_learns():
    truth, scores = world(decimals=1)
    seen = single_positives(truth, np.random.default_rng(0))
    expected = 100 * np.mean([roc_auc_score(seen[:, c] == 1, scores[:, c]) for c in range(5)])
    assert value("pu_auc", scores, seen) == pytest.approx(expected)


def test_ap_auc_is_the_mean_of_what_both_are_above_chance():
    truth, scores = world()
    seen = single_positives(truth, np.random.default_rng(0))
    ap = np.mean([average_precision_score(seen[:, c] == 1, scores[:, c]) for c in range(5)])
    auc = np.mean([roc_auc_score(seen[:, c] == 1, scores[:, c]) for c in range(5)])
    assert value("ap_auc", scores, seen) == pytest.approx(100 * (ap + 2 * auc - 1) / 2)
    assert value("ap_auc", np.where(seen == 1, 1.0, 0.0), seen) == pytest.approx(100.0)


def test_pu_auc_leaves_out_classes_with_nothing_to_compare():
    scores = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 1.0]])
    labels = np.array([[1, 1, -1], [-1, 1, -1]], dtype=np.int8)
    assert value("pu_auc", scores, labels) == pytest.approx(0.0)


def test_pu_auc_of_candidates_takes_them_for_positive():
    truth, scores = world()
    labels = np.where((truth == 1) | (np.random.default_rng(0).random(truth.shape) < 0.2), -1, 0).astype(np.int8)
    expected = 100 * np.mean([roc_auc_score(labels[:, c] == -1, scores[:, c]) for c in range(5)])
    assert value("pu_auc", scores, labels, mechanism=CandidateNoise(0.2), rate=0.2) == pytest.approx(expected)


def test_loss_is_minus_the_cross_entropy_of_what_was_observed():
    truth, scores = world()
    seen = single_positives(truth, np.random.default_rng(0))
    probabilities = 1 / (1 + np.exp(-scores))
    expected = np.mean([log_loss(seen[:, c] == 1, probabilities[:, c], labels=[0, 1]) for c in range(5)])
    assert value("loss", scores, seen) == pytest.approx(-expected, rel=1e-5)


CASES: list[tuple[str, Mechanism | None, dict[str, object]]] = [
    ("map", None, {}),
    ("pu_auc", None, {}),
    ("ap_auc", None, {}),
    ("known_map", KnownAtRandom(), {}),
    ("corrected_ap", SINGLE, {}),
    ("corrected_ap", SeenIndependently(0.3), {}),
    ("corrected_ap", CandidateNoise(0.1), {"rate": 0.1}),
]


@quiet
@given(st.sampled_from(CASES), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_neither_the_order_of_images_nor_the_scale_of_scores_matters(case, count, seed):
    name, mechanism, more = case
    rng = np.random.default_rng(seed)
    scores = rng.integers(-4, 5, (count, 3)).astype(float)  # many ties
    labels = rng.integers(-1, 2, (count, 3)).astype(np.int8)
    order = rng.permutation(count)
    found = value(name, scores, labels, mechanism=mechanism, **more)
    assert value(name, scores[order], labels[order], mechanism=mechanism, **more) == pytest.approx(found, abs=1e-9)
    assert value(name, np.exp(scores / 3) - 7, labels, mechanism=mechanism, **more) == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize(("name", "mechanism", "more"), [*CASES, ("loss", None, {})])
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_many_models_have_the_values_each_has_alone(name, mechanism, more, compat):
    generator = torch.Generator().manual_seed(3)
    logits = 20 * torch.randn(5, 40, 6, generator=generator)
    labels = torch.randint(-1, 2, (40, 6), generator=generator, dtype=torch.int8)
    evidence = Evidence(labels, mechanism, **more)
    values = criterion_values(name, logits, evidence, compat=compat)
    assert values.tolist() == [criterion_value(name, one, evidence, compat=compat) for one in logits]
    assert len(set(values.tolist())) == 5


@pytest.mark.parametrize(("name", "mechanism", "more"), CASES)
def test_scores_that_are_not_numbers_have_no_value(name, mechanism, more):
    labels = torch.tensor([[1, -1], [0, 1], [0, 0]], dtype=torch.int8)
    logits = torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [0.0, 0.0]])
    assert np.isnan(criterion_value(name, logits, Evidence(labels, mechanism, **more)))


def test_classes_without_a_label_are_left_out_or_count_nothing():
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    labels = torch.tensor([[1, -1], [-1, -1]], dtype=torch.int8)
    evidence = Evidence(labels, SINGLE, torch.ones(2).double())
    assert criterion_value("corrected_ap", logits, evidence) == 100.0
    assert criterion_value("corrected_ap", logits, evidence, compat="reference") == 50.0
    nothing = Evidence(torch.full((2, 2), -1, dtype=torch.int8), SINGLE)
    for name in ("map", "corrected_ap", "pu_auc"):
        assert criterion_value(name, logits, nothing) == 0.0


def test_criteria_say_what_they_are():
    assert {name for name, one in CRITERIA.items() if one.on_map_scale} == {"map", "known_map", "corrected_ap"}
    assert [name for name, one in CRITERIA.items() if one.uses_cardinality] == ["corrected_ap"]
    truth, scores = world()
    known = known_mean_average_precision(torch.as_tensor(scores), torch.as_tensor(truth)).item()
    assert value("known_map", scores, truth) == known
