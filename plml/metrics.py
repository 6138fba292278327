"""Multi-label metrics: pure functions of ``scores`` (N, L) and ``target`` (N, L), on the tensors' own device.

``target`` is in the project's encoding. Scores may be logits or probabilities; only their order counts, and
equal scores share one threshold, so no figure depends on how ties happen to be sorted. Functions return
0-d tensors (or one value a class); nothing is copied to the host except in :func:`multilabel_metrics`, once.

``compat`` decides about classes that have no positive example: ``reference`` scores them 0 and keeps them in
the mean (Cole et al., Large Loss Matters, ACK), ``fixed`` leaves them out and counts them. A mean over nothing is 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plml.compat import Compat
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN

ASL_EPSILON = 1e-8


def _real(values: Tensor) -> Tensor:
    """Return ``values`` as float64, or as float32 where the device has no float64 (Apple's MPS)."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Mean of ``values`` where ``among``; 0 when that is nowhere."""
    return _real(values).where(among, 0.0).sum() / among.sum().clamp(min=1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, and 0 where ``whole`` is 0."""
    return _real(part) / _real(whole).clamp(min=1)


class _Ranking(NamedTuple):
    """Columns sorted by falling score; counts run over all entries that score at least as high, ties included."""

    positive: Tensor  # (N, L) bool: the entry at this place is positive
    hits: Tensor  # (N, L) int64: positives scoring at least as high
    above: Tensor  # (N, L) int64: counted entries scoring at least as high


def _rank(scores: Tensor, positive: Tensor, counted: Tensor) -> _Ranking:
    """Sort every column once; entries that are not ``counted`` take part in nothing."""
    ordered, order = scores.sort(dim=0, descending=True)
    hits = positive.gather(0, order).long()
    inside = counted.gather(0, order).long()
    size = len(scores)
    ends = torch.ones_like(ordered, dtype=torch.bool)  # last place of a run of equal scores
    ends[:-1] = ordered[:-1] != ordered[1:]
    places = torch.arange(size, device=scores.device)[:, None].expand_as(order)
    end = places.where(ends, size).flip(0).cummin(dim=0).values.flip(0)  # (N, L) where this place's run ends
    return _Ranking(hits.bool(), hits.cumsum(0).gather(0, end), inside.cumsum(0).gather(0, end))


def average_precision(scores: Tensor, target: Tensor, *, known_only: bool = False) -> Tensor:
    """Return the step-wise, non-interpolated average precision of each class in [0, 1], (L,) float64.

    AP = sum over distinct thresholds, descending, of (R_n - R_{n-1}) P_n, scikit-learn's definition. A class
    without positives has no average precision: NaN, for the caller to leave out or to score 0.

    Args:
        scores: (N, L).
        target: (N, L); only POSITIVE is positive.
        known_only: leave UNKNOWN entries out (OpenImages' convention) instead of taking them as negatives.
    """
    positive = target == POSITIVE
    ranking = _rank(scores, positive, target != UNKNOWN if known_only else torch.ones_like(positive))
    precision = _ratio(ranking.hits, ranking.above) * ranking.positive
    # A positive raises the recall by 1/P at its threshold, so the sum over thresholds is a mean over positives.
    return precision.sum(0) / _real(positive.sum(0))


def mean_average_precision(scores: Tensor, target: Tensor, *, compat: Compat = "fixed") -> Tensor:
    """Return mAP in percent, 0..100: POSITIVE against everything else."""
    return _class_mean(average_precision(scores, target), torch.ones_like(target[0], dtype=torch.bool), compat)


def known_mean_average_precision(scores: Tensor, target: Tensor, *, compat: Compat = "fixed") -> Tensor:
    """Return mAP in percent over known entries only; a class of which nothing is known is always left out.

    OpenImages' convention, as in Kim et al., Large Loss Matters, CVPR 2022, arXiv:2206.03740.
    """
    return _class_mean(average_precision(scores, target, known_only=True), (target != UNKNOWN).any(0), compat)


def _class_mean(ap: Tensor, classes: Tensor, compat: Compat) -> Tensor:
    """Mean of per-class AP in percent over ``classes``, those without positives as 0 or left out."""
    present = ~ap.isnan()
    return 100.0 * _mean(ap.nan_to_num(0.0), classes if compat == "reference" else classes & present)


def asl_average_precision(scores: Tensor, target: Tensor, *, known_only: bool = False) -> Tensor:
    """Return AP as the ASL, CSL and Hill/SPLC code computes it, (L,): precision summed at each positive / (P + 1e-8).

    Equal scores keep the order of the examples here; without ties it differs from
    :func:`average_precision` by the 1e-8 only. A class without positives has 0.

    Ridnik et al., Asymmetric Loss, ICCV 2021, arXiv:2009.14119.
    """
    counted = target != UNKNOWN if known_only else torch.ones_like(target, dtype=torch.bool)
    order = scores.sort(dim=0, descending=True, stable=True).indices
    hits = (target == POSITIVE).gather(0, order)
    precision = _ratio(hits.cumsum(0), counted.gather(0, order).cumsum(0)) * hits
    return precision.sum(0) / (_real(hits.sum(0)) + ASL_EPSILON)


def asl_mean_average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Return the ASL family's mAP in percent: absent classes count as 0."""
    return 100.0 * asl_average_precision(scores, target).mean()


class PartialMetrics(NamedTuple):
    """CSL's figures on partially known labels."""

    ap: Tensor  # (L,) float64, meaningful where used
    used: Tensor  # (L,) bool: some positive and some negative are known
    mean: Tensor  # percent, plain mean over used classes
    weighted: Tensor  # percent, used classes weighted by their number of positives
    no_label: Tensor  # number of classes of which nothing is known
    no_negative: Tensor  # number of classes with known positives only
    no_positive: Tensor  # number of classes with known negatives only


def partial_metrics(scores: Tensor, target: Tensor) -> PartialMetrics:
    """Return average precision over known entries, for classes that have both kinds of them.

    Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware Selective Loss,
    CVPR 2022, arXiv:2110.10955.
    """
    ap = asl_average_precision(scores, target, known_only=True)
    positives, negatives = (target == POSITIVE).sum(0), (target == NEGATIVE).sum(0)
    some, other = positives > 0, negatives > 0
    used = some & other
    weights = _real(positives).where(used, 0.0)
    return PartialMetrics(
        ap=ap,
        used=used,
        mean=100.0 * _mean(ap, used),
        weighted=100.0 * (ap * weights).sum() / weights.sum().clamp(min=1),
        no_label=(~some & ~other).sum(),
        no_negative=(some & ~other).sum(),
        no_positive=(~some & other).sum(),
    )


class TopK(NamedTuple):
    """Means over images, in [0, 1]."""

    precision: Tensor
    recall: Tensor
    hit: Tensor


def top_k(scores: Tensor, target: Tensor, k: int) -> TopK:
    """Return precision@k, recall@k and the share of images with a positive among their k best classes.

    precision = hits / k, recall = hits / positives; both are 0 for an image without positives, which stays in the
    mean (Cole et al., CVPR 2021). Where L < k all classes are taken and k stays in the denominator. The order of equal
    scores is the device's.
    """
    positive = target == POSITIVE
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # (N, min(k, L))
    hits = positive.gather(1, best).sum(1)  # (N,)
    return TopK(_real(hits).mean() / k, _ratio(hits, positive.sum(1)).mean(), _real(hits > 0).mean())


class ThresholdMetrics(NamedTuple):
    """Precision, recall and F1 in percent: overall (O), class means (C), and the mean of per-class F1."""

    OP: Tensor
    OR: Tensor
    OF1: Tensor
    CP: Tensor
    CR: Tensor
    CF1: Tensor  # harmonic mean of CP and CR, not the mean of per-class F1
    macro_F1: Tensor  # noqa: N815 - the name reports carry


def threshold_metrics(
    scores: Tensor, target: Tensor, *, threshold: float = 0.5, compat: Compat = "fixed"
) -> ThresholdMetrics:
    """Return precision, recall and F1 of the predictions ``scores >= threshold``, over known entries.

    A class for which nothing is predicted has precision 0. Class means run over the classes with positives
    (``fixed``) or over all of them (``reference``).

    Args:
        scores: (N, L); probabilities for the usual threshold 0.5.
        target: (N, L).
        threshold: in the units of ``scores``.
        compat: see the module.
    """
    predicted = (scores >= threshold) & (target != UNKNOWN)
    positive = target == POSITIVE
    tp, pred, pos = (predicted & positive).sum(0), predicted.sum(0), positive.sum(0)  # (L,)
    classes = torch.ones_like(pos, dtype=torch.bool) if compat == "reference" else pos > 0
    overall = _precision_recall_f1(_ratio(tp.sum(), pred.sum()), _ratio(tp.sum(), pos.sum()))
    by_class = _precision_recall_f1(_mean(_ratio(tp, pred), classes), _mean(_ratio(tp, pos), classes))
    return ThresholdMetrics(*overall, *by_class, 100.0 * _mean(_ratio(2 * tp, pred + pos), classes))


def _precision_recall_f1(precision: Tensor, recall: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Percentages; F1 is 0 when both are 0."""
    total = precision + recall
    f1 = 2.0 * precision * recall / total.where(total > 0, 1.0)
    return 100.0 * precision, 100.0 * recall, 100.0 * f1


def hamming_loss(scores: Tensor, target: Tensor, *, threshold: float = 0.5) -> Tensor:
    """Return the share of known entries whose prediction ``scores >= threshold`` is wrong, in [0, 1]."""
    known = target != UNKNOWN
    return _mean((scores >= threshold) != (target == POSITIVE), known)


class RankingMetrics(NamedTuple):
    """Means over images in [0, 1]; definitions of Zhang and Zhou, IEEE TKDE 26(8), 2014."""

    ranking_loss: Tensor
    one_error: Tensor
    coverage: Tensor
    sample_AP: Tensor  # noqa: N815 - the name reports carry


def ranking_metrics(scores: Tensor, target: Tensor) -> RankingMetrics:
    """Return the label-ranking figures of each image over its known labels, averaged over images.

    * ranking loss: share of (positive, negative) pairs in which the negative scores at least as high; images
      that have no such pair are left out.
    * one-error: share of images whose best score belongs to a negative; a tie at the top with one is an error.
    * coverage: (places from the top needed to include every positive - 1) / L, so 0 <= coverage < 1.
    * sample AP: mean over an image's positives of the precision at their place (label ranking average precision).

    Ties count against the prediction, as in scikit-learn. The last three leave out images without positives.
    """
    positive, known = (target == POSITIVE).T, (target != UNKNOWN).T  # (L, N): one column an image
    # Unknown labels go to the bottom, so that the first place is a known label's wherever there is one.
    ranking = _rank(scores.T.masked_fill(~known, -torch.inf), positive, known)
    count, num_classes = positive.sum(0), len(positive)  # (N,)
    some = count > 0
    wrong = ((ranking.above - ranking.hits) * ranking.positive).sum(0)  # negatives at or above each positive
    pairs = count * (known.sum(0) - count)
    deepest = (ranking.above * ranking.positive).amax(0)
    precision = (_ratio(ranking.hits, ranking.above) * ranking.positive).sum(0)
    return RankingMetrics(
        ranking_loss=_mean(_ratio(wrong, pairs), pairs > 0),
        one_error=_mean(ranking.above[0] > ranking.hits[0], some),
        coverage=_mean(_real(deepest - 1) / num_classes, some),
        sample_AP=_mean(precision / _real(count).clamp(min=1), some),
    )


def multilabel_metrics(
    logits: Tensor, target: Tensor, *, threshold: float = 0.5, compat: Compat = "fixed"
) -> dict[str, float]:
    """Return the figures reported for a split, ratios in percent; entries that are UNKNOWN are left out of them.

    Ranking figures are computed from logits (``fixed``), or from sigmoid outputs, whose saturation ties scores in
    single precision, as the released code does (``reference``).

    Args:
        logits: (N, L), N >= 1.
        target: (N, L) truth.
        threshold: probability at which a label is predicted, in (0, 1).
        compat: see the module.

    Returns:
        mAP, OP, OR, OF1, CP, CR, CF1, macro_F1, hamming_loss, ranking_loss, one_error, coverage, sample_AP in
        percent, and empty_classes, the number of classes without a positive.
    """
    probabilities = logits.sigmoid()
    scores = probabilities if compat == "reference" else logits
    figures = {"mAP": known_mean_average_precision(scores, target, compat=compat)}
    figures |= threshold_metrics(probabilities, target, threshold=threshold, compat=compat)._asdict()
    figures["hamming_loss"] = 100.0 * hamming_loss(probabilities, target, threshold=threshold)
    figures |= {name: 100.0 * value for name, value in ranking_metrics(scores, target)._asdict().items()}
    figures["empty_classes"] = (target != POSITIVE).all(0).sum()
    values = torch.stack([_real(value) for value in figures.values()]).tolist()  # the one host copy
    return dict(zip(figures, values, strict=True))
