r"""Estimates of true labels from what is seen of them, for figures that are sums over labels.

If labels get lost with :math:`a = P(s = 1 | y = 0)` and :math:`b = P(s = 1 | y = 1)`, then
:math:`\hat y = (s - a) / (b - a)` has the expectation y: Natarajan et al., Learning with Noisy Labels, NeurIPS 2013.
A single estimate says little (a seen positive of three counts as 3, an unseen label as 0); sums of many are right on
average. :mod:`plml.selection` corrects average precision by the same rule.

For positives only this gives the F1 of Tabatabaei, Klein and Hoogendoorn, Estimating the F1 Score for Learning from
Positive and Unlabeled Examples, LOD 2020: it needs the share of positives that is labelled, and no negative.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plml.cardinality import estimated_weights, image_weights
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN
from plml.mechanism import CandidateNoise, ChosenPerImage, SeenIndependently
from plml.ranks import real
from plml.standings import Evidence, Standings


class LabelEstimates(NamedTuple):
    """What stands for the true labels of N images and L classes."""

    values: Tensor  # (N, L) float64; 0 where nothing counts
    counted: Tensor  # (N, L) bool


def estimate_labels(evidence: Evidence, logits: Tensor) -> LabelEstimates:
    """Return estimates of the labels that ``evidence`` is about.

    Args:
        evidence: labels, and how they got lost. Without a mechanism, or where entries are known at random, known
            entries stand for themselves and unknown ones do not count.
        logits: (N, L) of the model in question. They matter only where cardinalities are to be estimated.
    """
    labels, mechanism = evidence.labels, evidence.mechanism
    positive = labels == POSITIVE
    everything = torch.ones_like(positive)
    if isinstance(mechanism, CandidateNoise):
        return LabelEstimates((real(labels != NEGATIVE) - evidence.rate) / (1.0 - evidence.rate), everything)
    if isinstance(mechanism, SeenIndependently):
        return LabelEstimates(real(positive) / mechanism.fraction, everything)
    if isinstance(mechanism, ChosenPerImage):
        if evidence.cardinality is not None:
            weights = image_weights(mechanism, labels, evidence.cardinality)[:, None]
            return LabelEstimates(real(positive) * weights, everything)
        places = evidence.positive
        found = estimated_weights(mechanism, labels, Standings(logits, "fixed"), places)  # (L, W)
        values = torch.zeros_like(real(positive)).mT.contiguous()
        values.scatter_add_(1, places.rows, found.where(places.taken, 0.0).to(values.dtype))
        return LabelEstimates(values.mT, everything)
    return LabelEstimates(real(positive), labels != UNKNOWN)


def cardinality_only(logits: Tensor, cardinality: float) -> LabelEstimates:
    """Return estimates where nothing is known but the mean number of positives of an image, k: k / L everywhere."""
    values = torch.full(logits.shape, cardinality / logits.shape[1], dtype=torch.float64, device=logits.device)
    return LabelEstimates(values, torch.ones_like(values, dtype=torch.bool))
