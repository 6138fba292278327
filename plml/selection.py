r"""What chooses an epoch, a trial, a cell: criteria over the validation labels that a setting really has.

N images, L classes, :math:`s_{ij}` the observed positive labels. The precision at a threshold has a denominator that
needs no label, the number of images above it, so only the true positives in its numerator have to be estimated:
:math:`\hat y = (s - a) / (b - a)` has the expectation y if :math:`a = P(s = 1 | y = 0)` and
:math:`b = P(s = 1 | y = 1)` (Natarajan et al., NeurIPS 2013, applied to the metric instead of the loss).

Values are in percent, or minus the loss: higher is always better. Equal scores share one threshold, so no value depends
on the order of the images. Leading dimensions of the logits are models of their own; each has the value it gets alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plml.cardinality import estimated_weights, image_weights
from plml.compat import Compat
from plml.errors import ConfigError, nearest
from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, SeenIndependently
from plml.metrics import known_mean_average_precision
from plml.ranks import real, row_sums
from plml.standings import Evidence, Standings

Function = Callable[[Standings, Evidence, Compat], Tensor]


@dataclass(frozen=True)
class Criterion:
    """A way to choose.

    Attributes:
        name: as in ``selection.criterion``.
        on_map_scale: whether it estimates the mAP of the true labels, in percent, so that its level can be judged.
        uses_cardinality: whether ``selection.cardinality`` matters, where a setting shows some positives an image.
        function: of rankings, evidence and compat; returns (...,).
    """

    name: str
    on_map_scale: bool
    uses_cardinality: bool
    function: Function


CRITERIA: dict[str, Criterion] = {}


def criterion(
    name: str, *, on_map_scale: bool = False, uses_cardinality: bool = False
) -> Callable[[Function], Function]:
    """Register a function as the criterion ``name``, see :class:`Criterion`."""

    def register(function: Function) -> Function:
        CRITERIA[name] = Criterion(name, on_map_scale, uses_cardinality, function)
        return function

    return register


@criterion("map", on_map_scale=True)
def _map(standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    """Rank what is said to be positive against everything else; on observed labels an unknown one is a negative."""
    ranks = standings.ranks(evidence.positive)
    return _class_mean(ranks.precision() / ranks.positives, ranks.positives, compat)


@criterion("known_map", on_map_scale=True)
def _known_map(standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    """Rank known entries only."""
    return known_mean_average_precision(-standings.rising.mT, evidence.labels, compat=compat)


@criterion("corrected_ap", on_map_scale=True, uses_cardinality=True)
def _corrected_ap(standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    """Estimate the mAP of the true labels, in the way that fits how labels got lost."""
    mechanism = evidence.mechanism
    if isinstance(mechanism, KnownAtRandom):
        return _known_map(standings, evidence, compat)
    if isinstance(mechanism, CandidateNoise):
        return _denoised(standings, evidence, compat)
    places, exact = evidence.positive, True
    if isinstance(mechanism, SeenIndependently):
        weights = torch.full_like(real(places.taken), 1.0 / mechanism.fraction)
    elif isinstance(mechanism, ChosenPerImage) and evidence.cardinality is not None:
        weights = image_weights(mechanism, evidence.labels, evidence.cardinality)[places.rows]
        exact = evidence.exact
    elif isinstance(mechanism, ChosenPerImage):
        weights, exact = estimated_weights(mechanism, evidence.labels, standings, places), False
    else:
        raise ConfigError("selection.criterion: 'corrected_ap' must know how labels got lost, and nobody says")
    return _inverse_propensity(standings, evidence, weights, compat, exact=exact)


def _inverse_propensity(
    standings: Standings, evidence: Evidence, weights: Tensor, compat: Compat, *, exact: bool
) -> Tensor:
    r"""AP by inverse propensities, leaving the positive itself out of its estimate.

    With :math:`w_i = 1 / b_i`, the sums over observed positives:
    :math:`AP = \sum_i w_i (1 + \sum_{j \neq i, above} w_j) / rank_i \,/\, \sum_i w_i`. An observed positive is itself
    certain, so it counts as 1 in its own precision; the numerator then has the numerator of the true AP as its
    expectation, because images show their labels independently. All weights 1: the AP of the observed labels.

    Weights that are not exact, one for many images, overshoot where images with few positives gather, at the top of a
    ranking; there a precision above 1 is cut to 1. With exact weights that would only add a bias.
    """
    ranks, own, heaps = standings.weighted_ranks(evidence.positive, weights)
    precision = (1.0 + heaps - own) / ranks.above.clamp(min=1)
    precision = precision if exact else precision.clamp(max=1.0)
    total = row_sums((own * precision).where(ranks.taken, 0.0)).masked_fill(ranks.broken, torch.nan)
    return _class_mean(total / row_sums(own), ranks.positives, compat)


def _denoised(standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    r"""AP from candidates of whose negatives a share rho is false.

    :math:`TP(t) = (C(t) - \rho N(t)) / (1 - \rho)` for C candidates among the N images above a threshold. Recall
    :math:`TP(t) / TP(all)`, cut to [0, 1], is made non-decreasing, and AP sums its steps times the precision
    :math:`TP / N`, cut to [0, 1]. TP grows at thresholds of candidates only, so no others need be looked at.
    """
    ranks, rate = standings.ranks(evidence.candidates), evidence.rate
    found = (ranks.hits - rate * ranks.above) / (1.0 - rate)
    images = standings.rising.shape[-1]
    everything = ((ranks.positives - rate * images) / (1.0 - rate)).clamp(min=1.0)
    recall = (found / everything[:, None]).clamp(0.0, 1.0).where(ranks.taken, 0.0).cummax(-1).values
    steps = recall.diff(dim=-1, prepend=torch.zeros_like(recall[..., :1]))
    precision = (found / ranks.above.clamp(min=1)).clamp(0.0, 1.0)
    return _class_mean(row_sums(steps * precision).masked_fill(ranks.broken, torch.nan), ranks.positives, compat)


@criterion("pu_auc")
def _pu_auc(standings: Standings, evidence: Evidence, _: Compat) -> Tensor:
    r"""Mean over classes of P(an observed positive scores above anything else), ties counting half.

    If every positive is as likely to be seen as any other of its class, it is :math:`(1 - \pi) AUC + \pi / 2` with
    :math:`\pi` the share of positives among the rest, so it orders models as the AUC of the true labels does. Classes
    of which nothing, or everything, is positive are left out.
    """
    places = evidence.positive
    present = places.counts.where(places.counts < standings.rising.shape[-1], 0.0)
    return _class_mean(standings.auc(places), present, "fixed")


@criterion("ap_auc")
def _ap_auc(standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    """Mean of mAP and 2 PU-AUC - 1 (Gini's coefficient), both near 0 by chance and at most 100.

    AP looks at the top of rankings, where few observed positives decide; AUC at all of them, and so is blind to the
    top. Each errs where the other does not: on real runs the mean orders models better than either (docs/selection.md).
    """
    return (_map(standings, evidence, compat) + 2.0 * _pu_auc(standings, evidence, compat) - 100.0) / 2.0


@criterion("loss")
def _loss(standings: Standings, evidence: Evidence, _: Compat) -> Tensor:
    """Minus the binary cross-entropy of the observed labels, an unknown one taken as a negative.

    It judges how well the observed labels are predicted, the missing ones included; a better classifier has a worse
    one. Here to be compared with.
    """
    target = torch.zeros(evidence.labels.mT.shape, device=evidence.labels.device, dtype=torch.bool)
    places = evidence.positive
    target.scatter_reduce_(1, places.rows, places.taken, "amax")
    logits = standings.logits.float()
    # Not softplus: its last few entries are rounded otherwise than the rest on some processors, and so a model among
    # others would not have the value that it has alone.
    losses = -torch.nn.functional.logsigmoid(-logits) - logits * target.mT
    return -row_sums(row_sums(real(losses))) / target.numel()


def _class_mean(ap: Tensor, positives: Tensor, compat: Compat) -> Tensor:
    """Mean of per-class values in percent; classes without positives count 0 (``reference``) or are left out."""
    present = positives > 0
    total = row_sums(ap.where(present, 0.0))
    among = torch.ones_like(present) if compat == "reference" else present
    return 100.0 * (total / among.sum(-1).clamp(min=1))


def criterion_value(name: str, logits: Tensor, labels: Tensor | Evidence, *, compat: Compat = "fixed") -> float:
    """Return the criterion ``name``; higher is better.

    Args:
        name: one of :data:`CRITERIA`.
        logits: (N, L) of the validation split.
        labels: (N, L) validation labels, clean or observed, or all there is besides scores.
        compat: treatment of classes without positives, see :mod:`plml.metrics`.

    Raises:
        ConfigError: there is no such criterion, or it cannot be computed from these labels.
    """
    return float(criterion_values(name, logits, labels, compat=compat))


def criterion_values(name: str, logits: Tensor, labels: Tensor | Evidence, *, compat: Compat = "fixed") -> Tensor:
    """Return the criterion ``name`` of K models at once, (K,) on the logits' device.

    Each model has the value that :func:`criterion_value` gives it alone.

    Args:
        name: one of :data:`CRITERIA`.
        logits: (K, N, L) of the validation split.
        labels: (N, L) validation labels of them all, clean or observed, or all there is besides scores.
        compat: treatment of classes without positives, see :mod:`plml.metrics`.

    Raises:
        ConfigError: there is no such criterion, or it cannot be computed from these labels.
    """
    evidence = labels if isinstance(labels, Evidence) else Evidence(labels)
    return standing_values(name, Standings(logits, compat), evidence, compat)


def standing_values(name: str, standings: Standings, evidence: Evidence, compat: Compat) -> Tensor:
    """Return :func:`criterion_values` of models whose classes are sorted already, so that criteria share the work."""
    if name not in CRITERIA:
        raise ConfigError(f"selection.criterion: there is no criterion '{name}'{nearest(name, CRITERIA)}")
    return CRITERIA[name].function(standings, evidence, compat)
