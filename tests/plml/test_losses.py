"""Element-wise terms: their values, their limits and where the two forms differ."""

import math

import pytest
import torch
import torch.nn.functional as F

from plml.losses import (
    expected_positives_penalty,
    negative_log,
    negative_loss,
    positive_loss,
    smoothed_loss,
    soft_target_loss,
)

LOGITS = torch.linspace(-8, 8, 33, dtype=torch.float64).reshape(3, 11)
MODES = pytest.mark.parametrize("compat", ["fixed", "reference"])


def test_fixed_terms_are_torchs_cross_entropy():
    ones, zeros = torch.ones_like(LOGITS), torch.zeros_like(LOGITS)
    assert_equal = torch.testing.assert_close
    bce = F.binary_cross_entropy_with_logits
    assert_equal(positive_loss(LOGITS, "fixed"), bce(LOGITS, ones, reduction="none"))
    assert_equal(negative_loss(LOGITS, "fixed"), bce(LOGITS, zeros, reduction="none"))
    target = torch.rand(LOGITS.shape, dtype=torch.float64)
    assert_equal(soft_target_loss(LOGITS, target, "fixed"), bce(LOGITS, target, reduction="none"))


def test_reference_terms_carry_the_epsilon():
    p = LOGITS.sigmoid()
    torch.testing.assert_close(positive_loss(LOGITS, "reference"), -(p + 1e-5).log())
    torch.testing.assert_close(negative_loss(LOGITS, "reference"), -(1 - p + 1e-5).log())
    assert negative_log(torch.tensor(0.0, dtype=torch.float64)).item() == pytest.approx(11.512925, abs=1e-6)


def test_the_forms_part_where_the_sigmoid_saturates():
    z = torch.tensor([20.0], dtype=torch.float64, requires_grad=True)
    stable, released = negative_loss(z, "fixed"), negative_loss(z, "reference")
    assert stable.item() == pytest.approx(20.0, abs=1e-6)
    assert released.item() == pytest.approx(11.513, abs=1e-3)
    (stable_gradient,) = torch.autograd.grad(stable, z)
    (released_gradient,) = torch.autograd.grad(released, z)
    assert stable_gradient.item() == pytest.approx(1.0, abs=1e-6)
    assert 0 < released_gradient.item() < 1e-3


def test_reference_mode_rounds_one_minus_p_as_released():
    """In single precision 1 - sigmoid(z) and sigmoid(-z) part well before the epsilon hides it."""
    z = torch.linspace(9, 15, 50)
    released = negative_loss(z, "reference")
    assert torch.equal(released, -torch.log((1.0 - torch.sigmoid(z)) + 1e-5))
    assert not torch.allclose(released, -torch.log(torch.sigmoid(-z) + 1e-5), rtol=1e-5)


@MODES
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0, 1e4])
def test_terms_are_finite_in_single_precision(compat, size):
    z = torch.tensor([[-size, size]], requires_grad=True)
    for term in (positive_loss(z, compat), negative_loss(z, compat)):
        (gradient,) = torch.autograd.grad(term.sum(), z, retain_graph=True)
        assert torch.isfinite(term).all()
        assert torch.isfinite(gradient).all()


@MODES
def test_smoothing_mixes_the_two_terms(compat):
    positive = LOGITS > 1.0
    s = 0.1
    here, there = positive_loss(LOGITS, compat), negative_loss(LOGITS, compat)
    expected = torch.where(positive, (1 - s) * here + s * there, (1 - s) * there + s * here)
    torch.testing.assert_close(smoothed_loss(LOGITS, positive, s, compat), expected, rtol=1e-13, atol=1e-13)


def test_penalty_by_hand():
    # p = 1/2 in 2 x 4 entries: two positives an image; k = 3 -> ((2 - 3) / 4)^2
    assert expected_positives_penalty(torch.zeros(2, 4), 3.0).item() == pytest.approx(1 / 16)


def test_penalty_is_zero_at_the_expected_number_and_averages_over_the_batch():
    z = torch.tensor([[100.0, 100.0, -100.0], [-100.0, -100.0, -100.0]])
    assert expected_positives_penalty(z, 1.0).item() == pytest.approx(0.0, abs=1e-12)
    assert expected_positives_penalty(z[:1], 1.0).item() == pytest.approx((1 / 3) ** 2)


def test_penalty_gradient_by_finite_differences():
    z = LOGITS[:, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: expected_positives_penalty(x, 1.5), z)
    assert not math.isnan(expected_positives_penalty(z, 1.5).item())
