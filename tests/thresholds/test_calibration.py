"""Platt scaling: what made the labels is found again, from all labels and from some."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plml.errors import DataError
from plml.labels import POSITIVE, UNKNOWN
from plml.mechanism import CandidateNoise, SeenIndependently
from plml.standings import Evidence
from plml.thresholds.calibration import Calibration, fit_calibration
from plml.thresholds.label_estimates import LabelEstimates, estimate_labels


def world(count: int, slope: float, offset: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of five classes, and labels with the probabilities that a calibration says."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    labels = torch.rand(count, 5, generator=generator) < (slope * logits + offset).sigmoid()
    return logits, labels


@given(slope=st.floats(0.3, 3.0), offset=st.floats(-3.0, 2.0))
@settings(max_examples=20, deadline=None)
def test_exact_probabilities_give_back_slope_and_offset(slope: float, offset: float) -> None:
    # So many that Platt's targets, which pull by a positive or two, move the offset by 0.012 in the worst corner.
    logits = torch.linspace(-6, 6, 50_000, dtype=torch.float64)[:, None]
    exact = LabelEstimates((slope * logits + offset).sigmoid(), torch.ones_like(logits).bool())
    found = fit_calibration(logits, exact)
    assert found.slope == pytest.approx(slope, rel=0.01)
    assert found.offset == pytest.approx(offset, abs=0.02)


def test_probabilities_add_up_to_the_positives() -> None:
    logits, labels = world(400, 0.5, -1.0)
    estimates = LabelEstimates(labels.double(), torch.ones_like(labels))
    calibrated = fit_calibration(logits, estimates).apply(logits).sigmoid()
    assert float(calibrated.sum()) == pytest.approx(float(labels.sum()), rel=2e-3)  # up to Platt's targets


@pytest.mark.parametrize("kind", ["all", "half of the positives", "candidates"])
def test_partial_labels_give_the_calibration_of_all(kind: str) -> None:
    logits, labels = world(20_000, 0.6, 1.0)
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(labels.shape, generator=generator)
    if kind == "all":
        evidence = Evidence(labels.to(torch.int8))
    elif kind == "candidates":
        candidate = labels | (drawn < 0.2)
        evidence = Evidence(torch.where(candidate, UNKNOWN, 0).to(torch.int8), CandidateNoise(0.2), rate=0.2)
    else:
        seen = labels & (drawn < 0.5)
        evidence = Evidence(torch.where(seen, POSITIVE, UNKNOWN).to(torch.int8), SeenIndependently(0.5))
    found = fit_calibration(logits, estimate_labels(evidence, logits))
    assert found.slope == pytest.approx(0.6, abs=0.03)
    assert found.offset == pytest.approx(1.0, abs=0.05)


def test_the_identity_changes_no_bit() -> None:
    logits = torch.randn(7, 3)
    assert Calibration().apply(logits) is logits


def test_what_determines_no_calibration_is_refused() -> None:
    logits, labels = world(200, 1.0, 0.0)
    everything = torch.ones_like(labels)
    with pytest.raises(DataError, match="higher scores do not go with more positives"):
        fit_calibration(-logits, LabelEstimates(labels.double(), everything))
    with pytest.raises(DataError, match="determine no calibration"):
        fit_calibration(logits, LabelEstimates(torch.zeros_like(logits), everything))
    with pytest.raises(DataError, match="spread by 0"):
        fit_calibration(torch.ones(200, 5), LabelEstimates(labels.double(), everything))
    # One positive that counts as 30: no probability below 1 is as high as the top of the ranking would need.
    top = torch.zeros(200, 1, dtype=torch.float64)
    top[int(logits[:, 0].argmax())] = 30.0
    with pytest.raises(DataError, match="--labels clean"):
        fit_calibration(logits[:, :1], LabelEstimates(top, torch.ones_like(top).bool()))


def test_separated_kinds_do_not_end_in_infinity() -> None:
    logits = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    labels = (logits > 0).double()
    found = fit_calibration(logits, LabelEstimates(labels, torch.ones_like(labels).bool()))
    assert 0 < found.slope < 10


@given(offset=st.floats(-4.0, 4.0), share=st.floats(0.01, 0.99))
@settings(max_examples=25, deadline=None)
def test_prior_matching_moves_all_scores_alike(offset: float, share: float) -> None:
    logits = torch.linspace(-9, 5, 300, dtype=torch.float64)[:, None] + offset
    estimates = LabelEstimates(torch.full_like(logits, share), torch.ones_like(logits).bool())
    found = fit_calibration(logits, estimates, prior_only=True)
    assert found.slope == 1.0
    assert float(found.apply(logits).sigmoid().sum()) == pytest.approx(300 * share)


def test_one_cardinality_for_all_images_tells_no_slope() -> None:
    """Images with one object and with three, each showing one: counted as two each, the slope comes out too steep."""
    generator = torch.Generator().manual_seed(0)
    lonely = torch.rand(4000, 1, generator=generator) < 0.5
    rank = torch.rand(4000, 6, generator=generator).argsort(1).argsort(1)
    truth = rank < torch.where(lonely, 1, 3)
    # A lonely object is easier to see.
    logits = torch.where(truth, torch.where(lonely, 4.0, 1.0), -2.0) + torch.randn(4000, 6, generator=generator)
    seen = torch.zeros_like(truth)
    seen[torch.arange(4000), torch.rand(4000, 6, generator=generator).masked_fill(~truth, -1).argmax(1)] = True
    everything = torch.ones_like(truth)
    assert 2.0 < fit_calibration(logits, LabelEstimates(truth.double(), everything)).slope < 4.0
    counted = LabelEstimates(2.0 * seen.double(), everything)
    matched = fit_calibration(logits, counted, prior_only=True)
    assert float(matched.apply(logits).sigmoid().sum()) == pytest.approx(float(truth.sum()), rel=0.02)
    with pytest.raises(DataError, match="--labels clean"):  # so steep that there is none
        fit_calibration(logits, counted)
