"""Metrics against scikit-learn and hand-worked cases; ties, empty classes and unknown labels included."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from plml.metrics import (
    asl_average_precision,
    asl_mean_average_precision,
    average_precision,
    hamming_loss,
    known_mean_average_precision,
    mean_average_precision,
    multilabel_metrics,
    partial_metrics,
    ranking_metrics,
    stacked_multilabel_metrics,
    threshold_metrics,
    top_k,
)
from plml.ranks import probabilities

quiet = settings(deadline=None, max_examples=40)
brief = settings(deadline=None, max_examples=20)


@st.composite
def tables(draw, values=(1, 0), min_classes=1):
    """Scores, often with many ties, and labels from ``values``; both (N, L)."""
    shape = draw(st.integers(1, 25)), draw(st.integers(min_classes, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 12))
    scores = rng.integers(0, levels, shape) / levels if draw(st.booleans()) else rng.random(shape)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(rng.choice(values, shape), dtype=torch.int8)


def sklearn_ap(scores, positive):
    """scikit-learn's AP, NaN where there is no positive (it warns and says 0)."""
    if not positive.any():
        return math.nan
    return sk.average_precision_score(positive.numpy(), scores.numpy())


def distinct(scores):
    return len(np.unique(scores)) == scores.numel()


@quiet
@given(tables(values=(1, 0, -1)))
def test_average_precision_is_scikit_learns(table):
    scores, target = table
    expected = [sklearn_ap(s, t == 1) for s, t in zip(scores.T, target.T, strict=True)]
    np.testing.assert_allclose(average_precision(scores, target).numpy(), expected, rtol=0, atol=1e-12)


@quiet
@given(tables(values=(1, 0, -1)))
def test_known_average_precision_is_scikit_learns_on_the_known_rows(table):
    scores, target = table
    expected = [sklearn_ap(s[t != -1], t[t != -1] == 1) for s, t in zip(scores.T, target.T, strict=True)]
    actual = average_precision(scores, target, known_only=True).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


@quiet
@given(tables(values=(1, 0, -1)), st.permutations(range(25)))
def test_figures_do_not_depend_on_the_order_of_rows_nor_on_monotone_maps(table, order):
    scores, target = table
    rows = [row for row in order if row < len(scores)]
    expected = average_precision(scores, target)
    torch.testing.assert_close(average_precision(scores[rows], target[rows]), expected, equal_nan=True)
    torch.testing.assert_close(average_precision((3 * scores).exp() - 7, target), expected, equal_nan=True)
    ranked, mapped = ranking_metrics(scores, target), ranking_metrics((3 * scores).exp() - 7, target)
    torch.testing.assert_close(mapped, ranked)


@quiet
@given(tables(values=(1, 0, -1)))
def test_means_of_classes_leave_out_or_score_zero(table):
    scores, target = table
    ap = average_precision(scores, target)
    present = ~ap.isnan()
    fixed, reference = (mean_average_precision(scores, target, compat=mode).item() for mode in ("fixed", "reference"))
    assert fixed == pytest.approx(100 * ap[present].mean().item() if present.any() else 0.0)
    assert reference == pytest.approx(100 * ap.nan_to_num(0.0).mean().item())
    known = average_precision(scores, target, known_only=True)
    seen = (target != -1).any(0)
    assert known_mean_average_precision(scores, target).item() == pytest.approx(
        100 * known[~known.isnan()].mean().item() if present.any() else 0.0
    )
    assert known_mean_average_precision(scores, target, compat="reference").item() == pytest.approx(
        100 * known[seen].nan_to_num(0.0).mean().item() if seen.any() else 0.0
    )


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9], [0.8], [0.8], [0.1]])
    target = torch.tensor([[0], [1], [0], [1]])
    # Thresholds 0.8 (one of two positives, precision 1/3) and 0.1 (precision 2/4).
    assert average_precision(scores, target).item() == pytest.approx((1 / 3 + 1 / 2) / 2, abs=1e-15)


@quiet
@given(tables(values=(1, 0, -1)))
def test_asl_average_precision_is_the_same_without_ties_up_to_its_epsilon(table):
    scores, target = table
    columns = [column for column in range(scores.shape[1]) if distinct(scores[:, column])]
    scores, target = scores[:, columns], target[:, columns]
    for known_only in (False, True):
        plain = average_precision(scores, target, known_only=known_only).nan_to_num(0.0)
        asl = asl_average_precision(scores, target, known_only=known_only)
        torch.testing.assert_close(asl, plain, rtol=2e-8, atol=0.0)
    if columns:
        assert asl_mean_average_precision(scores, target).item() == pytest.approx(
            100 * average_precision(scores, target).nan_to_num(0.0).mean().item(), rel=2e-8
        )


def test_partial_metrics_by_hand():
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.5], [0.5, 0.8, 0.2, 0.4], [0.1, 0.7, 0.3, 0.3]])
    target = torch.tensor([[1, 0, -1, 1], [0, 1, -1, 1], [1, -1, -1, -1]])
    found = partial_metrics(scores, target)
    assert found.used.tolist() == [True, True, False, False]
    first, second = (1 + 2 / 3) / 2, 1 / 2
    np.testing.assert_allclose(found.ap[:2].numpy(), [first, second], rtol=2e-8)
    assert found.mean.item() == pytest.approx(100 * (first + second) / 2, rel=2e-8)
    assert found.weighted.item() == pytest.approx(100 * (2 * first + second) / 3, rel=2e-8)
    assert (found.no_label.item(), found.no_negative.item(), found.no_positive.item()) == (1, 1, 0)


def test_partial_metrics_of_nothing_are_zero():
    found = partial_metrics(torch.rand(3, 2), torch.full((3, 2), -1))
    assert (found.mean.item(), found.weighted.item(), found.no_label.item()) == (0.0, 0.0, 2)


def test_top_k_by_hand():
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.3, 0.2, 0.1]])
    target = torch.tensor([[1, 1, 0], [1, -1, 0], [0, 0, 0]])
    found = [tuple(value.item() for value in top_k(scores, target, k)) for k in (1, 2, 5)]
    assert found[0] == pytest.approx((1 / 3, 0.5 / 3, 1 / 3))
    assert found[1] == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found[2] == pytest.approx((3 / 15, 2 / 3, 2 / 3))  # k stays the divisor where there are fewer classes


@quiet
@given(tables(min_classes=2))
def test_threshold_metrics_are_scikit_learns(table):
    scores, target = table
    found = threshold_metrics(scores, target, compat="reference")
    y, predicted = target.numpy(), (scores >= 0.5).numpy().astype(int)

    def sklearn(function, average):
        return 100 * function(y, predicted, average=average, zero_division=0)

    assert found.OP.item() == pytest.approx(sklearn(sk.precision_score, "micro"))
    assert found.OR.item() == pytest.approx(sklearn(sk.recall_score, "micro"))
    assert found.OF1.item() == pytest.approx(sklearn(sk.f1_score, "micro"))
    assert found.CP.item() == pytest.approx(sklearn(sk.precision_score, "macro"))
    assert found.CR.item() == pytest.approx(sklearn(sk.recall_score, "macro"))
    assert found.macro_F1.item() == pytest.approx(sklearn(sk.f1_score, "macro"))
    cp, cr = found.CP.item(), found.CR.item()
    assert found.CF1.item() == pytest.approx(2 * cp * cr / (cp + cr) if cp + cr else 0.0)
    assert hamming_loss(scores, target).item() == pytest.approx(sk.hamming_loss(y, predicted))


def test_threshold_metrics_by_hand():
    scores = torch.tensor([[0.9, 0.2, 0.9], [0.5, 0.6, 0.1], [0.1, 0.1, 0.1]])
    target = torch.tensor([[1, 1, 0], [0, 1, 0], [1, -1, 0]])
    fixed, reference = (threshold_metrics(scores, target, compat=mode) for mode in ("fixed", "reference"))
    # tp 1, 1, 0; predicted 2, 1, 1 (0.5 is predicted); positives 2, 2, 0
    assert (fixed.OP.item(), fixed.OR.item()) == pytest.approx((50.0, 50.0))
    assert (fixed.CP.item(), fixed.CR.item()) == pytest.approx((75.0, 50.0))
    assert (reference.CP.item(), reference.CR.item()) == pytest.approx((50.0, 100 / 3))
    assert fixed.macro_F1.item() == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert hamming_loss(scores, target).item() == pytest.approx(4 / 8)


@quiet
@given(tables(min_classes=2))
def test_ranking_metrics_are_scikit_learns(table):
    scores, target = table
    found = ranking_metrics(scores, target)
    some, both = target.any(1), target.any(1) & ~target.all(1)
    if some.any():
        y, s = target[some].numpy(), scores[some].numpy()
        assert found.sample_AP.item() == pytest.approx(sk.label_ranking_average_precision_score(y, s))
        assert found.coverage.item() == pytest.approx((sk.coverage_error(y, s) - 1) / scores.shape[1])
    if both.any():
        expected = sk.label_ranking_loss(target[both].numpy(), scores[both].numpy())
        assert found.ranking_loss.item() == pytest.approx(expected)


def test_ranking_metrics_by_hand():
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.9, 0.1], [0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    target = torch.tensor([[0, 1, 0], [1, 0, 0], [1, -1, 0], [0, 0, 0]])
    found = ranking_metrics(scores, target)
    assert found.ranking_loss.item() == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.one_error.item() == pytest.approx(1.0)  # a tie at the top is an error
    assert found.coverage.item() == pytest.approx((1 / 3 + 1 / 3 + 1 / 3) / 3)  # an unknown label takes no place
    assert found.sample_AP.item() == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)


def test_ranking_metrics_do_not_count_unknown_labels():
    scores, target = torch.randn(20, 8), torch.randint(0, 2, (20, 8))
    hidden = torch.cat([target, torch.full((20, 3), -1)], dim=1)
    padded = ranking_metrics(torch.cat([scores, torch.full((20, 3), 9.0)], dim=1), hidden)
    plain = ranking_metrics(scores, target)
    assert padded.one_error.item() == plain.one_error.item()
    assert padded.ranking_loss.item() == pytest.approx(plain.ranking_loss.item())
    assert padded.sample_AP.item() == pytest.approx(plain.sample_AP.item())


@quiet
@given(tables(values=(1, 0, -1)), st.sampled_from(["fixed", "reference"]))
def test_reported_figures_are_percent_and_never_nan(table, compat):
    scores, target = table
    found = multilabel_metrics(8 * scores - 4, target, compat=compat)
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.values())
    assert all(0 <= value <= 100 + 1e-9 for name, value in found.items() if name != "empty_classes")
    assert found["empty_classes"] == (target != 1).all(0).sum().item()


def test_reported_figures_of_a_perfect_prediction():
    target = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=torch.int8)
    found = multilabel_metrics(20.0 * target - 10, target)
    for name in ("mAP", "OP", "OR", "OF1", "CP", "CR", "CF1", "macro_F1", "sample_AP"):
        assert found[name] == pytest.approx(100.0), name
    assert found["hamming_loss"] == found["ranking_loss"] == found["one_error"] == 0.0
    assert found["empty_classes"] == 1.0
    assert multilabel_metrics(20.0 * target - 10, target, compat="reference")["mAP"] == pytest.approx(200 / 3)


def test_threshold_is_a_probability():
    logits, target = torch.tensor([[1.0]]), torch.tensor([[1]])  # sigmoid(1) = 0.731
    assert multilabel_metrics(logits, target, threshold=0.7)["OR"] == 100.0
    assert multilabel_metrics(logits, target, threshold=0.75)["OR"] == 0.0


def function_figures(scores, target):
    """Every figure of the module, by name, with the leading dimensions of ``scores``."""
    found = {
        "AP": average_precision(scores, target),
        "known AP": average_precision(scores, target, known_only=True),
        "asl AP": asl_average_precision(scores, target),
        "known asl AP": asl_average_precision(scores, target, known_only=True),
        "asl mAP": asl_mean_average_precision(scores, target),
        "hamming": hamming_loss(scores, target),
        **{f"partial {name}": getattr(partial_metrics(scores, target), name) for name in ("ap", "mean", "weighted")},
        **{f"top {name}": value for name, value in top_k(scores, target, 2)._asdict().items()},
        **ranking_metrics(scores, target)._asdict(),
    }
    for compat in ("fixed", "reference"):
        found[f"mAP {compat}"] = mean_average_precision(scores, target, compat=compat)
        found[f"known mAP {compat}"] = known_mean_average_precision(scores, target, compat=compat)
        for name, value in threshold_metrics(scores, target, compat=compat)._asdict().items():
            found[f"{name} {compat}"] = value
    return found


@st.composite
def stacks(draw):
    """Scores of several models (K, N, L), single or double precision, and one target for them all."""
    scores, target = draw(tables(values=(1, 0, -1)))
    count = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shuffled = np.stack([rng.permutation(scores.numpy()) for _ in range(count)])
    return torch.tensor(shuffled, dtype=draw(st.sampled_from([torch.float32, torch.float64]))), target


@brief
@given(stacks())
def test_every_model_has_bit_for_bit_the_figures_it_has_alone(stack):
    scores, target = stack
    together = function_figures(scores, target)
    alone = [function_figures(one, target) for one in scores]
    for name, values in together.items():
        np.testing.assert_array_equal(values.numpy(), np.stack([one[name].numpy() for one in alone]), err_msg=name)
    with_two_dimensions = average_precision(scores[:, None], target)
    np.testing.assert_array_equal(with_two_dimensions[:, 0].numpy(), together["AP"].numpy())
    for compat in ("fixed", "reference"):
        expected = [multilabel_metrics(8 * one - 4, target, compat=compat) for one in scores]
        assert stacked_multilabel_metrics(8 * scores - 4, target, compat=compat) == expected


def test_many_images_are_scored_bit_for_bit_alike_by_two_threads():
    """Sums over more images than one thread takes at once."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(2, 40_001, 2, generator=generator)
    target = torch.randint(-1, 2, (40_001, 2), generator=generator, dtype=torch.int8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = stacked_multilabel_metrics(scores, target)
        assert together == [multilabel_metrics(one, target) for one in scores]
        ap = average_precision(scores[..., :1], target[:, :1])
        assert ap.tolist() == [average_precision(one[:, :1], target[:, :1]).tolist() for one in scores]
    finally:
        torch.set_num_threads(before)


@quiet
@given(tables(values=(1, 0, -1)))
def test_reported_figures_are_those_of_the_functions(table):
    scores, target = table
    logits = 8 * scores - 4
    for compat in ("fixed", "reference"):
        ranked = probabilities(logits) if compat == "reference" else logits
        expected = {"mAP": known_mean_average_precision(ranked, target, compat=compat)}
        expected |= threshold_metrics(probabilities(logits), target, compat=compat)._asdict()
        expected["hamming_loss"] = 100 * hamming_loss(probabilities(logits), target)
        expected |= {name: 100 * value for name, value in ranking_metrics(ranked, target)._asdict().items()}
        found = multilabel_metrics(logits, target, compat=compat)
        assert list(found) == [*expected, "empty_classes"]
        for name, value in expected.items():
            assert found[name] == pytest.approx(value.item(), rel=1e-13, abs=1e-13), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_logits_have_equal_probabilities_wherever_they_lie(dtype):
    for logit in torch.linspace(-30, 30, 40).tolist():
        lengths = [probabilities(torch.full((length,), logit, dtype=dtype)) for length in (1, 3, 8, 61)]
        assert len(torch.cat(lengths).unique()) == 1
    logits = torch.tensor([-math.inf, -100.0, -3.0, 0.0, 3.0, 40.0, math.inf], dtype=dtype)
    torch.testing.assert_close(probabilities(logits), logits.sigmoid(), rtol=1e-6, atol=1e-40)
    assert probabilities(logits.half()).dtype == torch.float32


def test_targets_may_have_leading_dimensions_too():
    generator = torch.Generator().manual_seed(6)
    scores = torch.rand(3, 30, 4, generator=generator, dtype=torch.float64)
    target = torch.randint(-1, 2, (3, 30, 4), generator=generator, dtype=torch.int8)
    together = function_figures(scores, target)
    for k in range(3):
        for name, value in function_figures(scores[k], target[k]).items():
            torch.testing.assert_close(together[name][k], value, rtol=1e-13, atol=1e-13, equal_nan=True, msg=name)


def test_a_nan_score_makes_figures_nan_and_leaves_other_models_alone():
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(2, 20, 3, generator=generator)
    target = torch.randint(0, 2, (20, 3), generator=generator, dtype=torch.int8)
    whole = multilabel_metrics(logits[1], target)
    logits[0, 4, 1] = math.nan
    broken, other = stacked_multilabel_metrics(logits, target)
    assert other == whole
    assert {name for name, value in broken.items() if value == value} == {"empty_classes"}
    for name, values in function_figures(logits, target).items():
        assert values[0].isnan().any(), name
        assert not values[1].isnan().any(), name
    assert average_precision(logits[0], target).isnan().tolist() == [False, True, False]


def test_figures_of_no_classes_and_of_no_models():
    assert average_precision(torch.zeros(3, 0), torch.zeros(3, 0)).shape == (0,)
    assert mean_average_precision(torch.zeros(3, 0), torch.zeros(3, 0)).item() == 0.0
    assert stacked_multilabel_metrics(torch.zeros(0, 3, 2), torch.zeros(3, 2)) == []
    assert average_precision(torch.zeros(0, 2), torch.zeros(0, 2)).isnan().all()
    only = multilabel_metrics(torch.tensor([[0.3]]), torch.tensor([[1]]))
    assert (only["mAP"], only["OF1"], only["one_error"], only["coverage"]) == (100.0, 100.0, 0.0, 0.0)


def test_large_tables_are_ranked_quickly():
    """One sort for all classes: a validation split of COCO's size takes well under the ten seconds allowed here."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(16_416, 80, generator=generator)
    target = (torch.rand(16_416, 80, generator=generator) < 0.04).to(torch.int8)
    began = time.perf_counter()
    multilabel_metrics(scores, target)
    assert time.perf_counter() - began < 10
