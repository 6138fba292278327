r"""Platt scaling: one slope and one offset, after which a probability of 0.3 is right three times in ten.

:math:`p = \sigma(a z + b)` for the logits z of all classes, the two numbers that minimise the cross-entropy
:math:`\sum \log(1 + e^{a z + b}) - \hat y (a z + b)` over the entries that count. It is linear in the labels, so
unbiased estimates of them (:mod:`plml.thresholds.label_estimates`) give an unbiased loss, and a convex one: du Plessis,
Niu and Sugiyama, Convex Formulation for Learning from Positive and Unlabeled Data, ICML 2015. At the minimum the
probabilities add up to the estimated number of positives.

Where the estimates are right for classes only as a whole, as with one k for all images, single positives of lonely
objects count too much, and the slope comes out two or three times too steep (measured, docs/deploying.md). Then the
slope stays 1 and only the offset is fitted, so that probabilities add up to the number of positives: prior matching.

Platt, Probabilistic Outputs for Support Vector Machines, 1999; temperature scaling (Guo et al., arXiv:1706.04599) is
b = 0, which cannot mend what partial labels do: unseen positives push all probabilities down.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plml.errors import DataError
from plml.thresholds.label_estimates import LabelEstimates

STEPS = 100  # of Newton's method; ten are common
TOLERANCE = 1e-10  # gradient of the mean loss, in units of its entries


class Calibration(NamedTuple):
    """``sigmoid(slope * logit + offset)`` are the calibrated probabilities; slope > 0."""

    slope: float = 1.0
    offset: float = 0.0

    def apply(self, logits: Tensor) -> Tensor:
        """Return calibrated logits, of the same shape and in the same precision."""
        return logits if self == Calibration() else logits * self.slope + self.offset


def fit_calibration(logits: Tensor, estimates: LabelEstimates, *, prior_only: bool = False) -> Calibration:
    """Return the calibration of ``logits`` (N, L) by estimated labels.

    Args:
        logits: of the images that the estimates are about.
        estimates: of their labels.
        prior_only: leave the slope at 1, and match the number of positives.

    Raises:
        DataError: the labels do not determine one: too few, or scores and labels have nothing to do with each other.
    """
    z = logits[estimates.counted].double()
    y = estimates.values[estimates.counted].double()
    positives = float(y.sum())
    spread = float(z.std()) if len(z) > 1 else 0.0
    if not 0 < positives < len(y) or spread == 0:
        raise DataError(
            f"--calibrate: {len(y)} labels with an estimated {positives:.3g} positives and scores that spread by "
            f"{spread:.3g} determine no calibration"
        )
    if prior_only:
        return Calibration(1.0, _matching_offset(z, positives))
    # Platt's targets: with few labels no probability of exactly 0 or 1 is right.
    high, low = (positives + 1.0) / (positives + 2.0), 1.0 / (len(y) - positives + 2.0)
    y = low + (high - low) * y
    middle = float(z.mean())
    inputs = torch.stack([(z - middle) / spread, torch.ones_like(z)], dim=1)
    weights = inputs.new_tensor([spread, middle])  # slope 1, offset 0
    weights = _newton(inputs, y, weights)
    slope = float(weights[0]) / spread
    if slope <= 0:
        raise DataError(
            f"--calibrate: higher scores do not go with more positives (slope {slope:.3g}), so no calibration is right"
        )
    return Calibration(slope, float(weights[1]) - slope * middle)


def _matching_offset(z: Tensor, positives: float) -> float:
    """Return the offset at which the probabilities of ``z`` add up to ``positives``, by bisection."""
    low, high = -float(z.max()) - 50.0, -float(z.min()) + 50.0
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if float((z + middle).sigmoid().sum()) < positives else (low, middle)
    return (low + high) / 2.0


def _newton(inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Minimise the mean cross-entropy over ``inputs`` (M, 2); raise DataError if it has no minimum."""

    def loss(at: Tensor) -> Tensor:
        score = inputs @ at
        return (torch.nn.functional.softplus(score) - labels * score).mean()

    value = loss(weights)
    for _ in range(STEPS):
        probability = (inputs @ weights).sigmoid()
        gradient = inputs.mT @ (probability - labels) / len(labels)
        if float(gradient.abs().max()) < TOLERANCE:
            return weights
        curvature = (inputs.mT * (probability * (1.0 - probability))) @ inputs / len(labels)
        step = torch.linalg.lstsq(curvature, gradient).solution
        length = 1.0
        while float(loss(weights - length * step)) > float(value) and length > 1e-6:
            length /= 2.0
        if length <= 1e-6:
            break
        weights = weights - length * step
        value = loss(weights)
    if float(gradient.abs().max()) < 1e-6 and float(weights.abs().max()) < 1e4:  # as exact as rounding allows
        return weights
    raise DataError(
        "--calibrate: the labels of the validation split are too few, or too contradictory, for a calibration; choose "
        "thresholds without it, or calibrate on clean labels (--labels clean)"
    )
