"""Multi-label metrics: pure functions of ``scores`` (..., N, L) and ``target``, on the tensors' own device.

Leading dimensions are models of their own: K of them are scored in one call, ``scores`` (K, N, L), and ``target``
(N, L), which is in the project's encoding, serves them all. Results have the leading dimensions of the scores.
What a model gets does not depend on its company: on a CPU the bits are those it gets alone.

Scores may be logits or probabilities; only their order counts, and equal scores share one threshold, so no figure
depends on how ties happen to be sorted. Where scores are NaN the figures made of them are NaN. Nothing is copied to
the host except in :func:`multilabel_metrics` and :func:`stacked_multilabel_metrics`, once.

``compat`` decides about classes that have no positive example: ``reference`` scores them 0 and keeps them in
the mean (Cole et al., Large Loss Matters, ACK), ``fixed`` leaves them out and counts them. A mean over nothing is 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from plml.compat import Compat
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN
from plml.ranks import Ranks, probabilities, rank_positives, real, row_counts, row_sums

ASL_EPSILON = 1e-8


def _mean(values: Tensor, among: Tensor) -> Tensor:
    """Mean over the last axis where ``among``; 0 when that is nowhere."""
    return row_sums(real(values).where(among, 0.0)) / among.sum(-1).clamp(min=1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, and 0 where ``whole`` is 0."""
    return real(part) / real(whole).clamp(min=1)


def _broken(scores: Tensor) -> Tensor:
    """Return whether a score is NaN, (...,)."""
    return scores.isnan().flatten(-2).any(-1)


def average_precision(scores: Tensor, target: Tensor, *, known_only: bool = False) -> Tensor:
    """Return the step-wise, non-interpolated average precision of each class in [0, 1], (..., L) float64.

    AP = sum over distinct thresholds, descending, of (R_n - R_{n-1}) P_n, scikit-learn's definition. A class
    without positives has no average precision: NaN, for the caller to leave out or to score 0.

    Args:
        scores: (..., N, L).
        target: (N, L) or (..., N, L); only POSITIVE is positive.
        known_only: leave UNKNOWN entries out (OpenImages' convention) instead of taking them as negatives.
    """
    ranks = _rank_classes(scores, _classes(target), known_only=known_only)
    # A positive raises the recall by 1/P at its threshold, so the sum over thresholds is a mean over positives.
    return ranks.precision() / ranks.positives


def mean_average_precision(scores: Tensor, target: Tensor, *, compat: Compat = "fixed") -> Tensor:
    """Return mAP in percent, 0..100, (...,): POSITIVE against everything else."""
    ranks = _rank_classes(scores, _classes(target), known_only=False)
    present = ranks.positives > 0
    return _class_mean(ranks.precision() / ranks.positives, present, torch.ones_like(present), compat)


def known_mean_average_precision(scores: Tensor, target: Tensor, *, compat: Compat = "fixed") -> Tensor:
    """Return mAP in percent over known entries only, (...,); a class of which nothing is known is always left out.

    OpenImages' convention, as in Kim et al., Large Loss Matters, CVPR 2022, arXiv:2206.03740.
    """
    classes = _classes(target)
    ranks = _rank_classes(scores, classes, known_only=True)
    seen = (classes != UNKNOWN).any(-1)
    return _class_mean(ranks.precision() / ranks.positives, ranks.positives > 0, seen, compat)


def _classes(target: Tensor) -> Tensor:
    """Return the labels with one class a row, (..., L, N)."""
    return target.mT.contiguous()


def _rank_classes(scores: Tensor, classes: Tensor, *, known_only: bool) -> Ranks:
    return rank_positives(scores.mT, classes == POSITIVE, classes != UNKNOWN if known_only else None)


def _class_mean(ap: Tensor, present: Tensor, classes: Tensor, compat: Compat) -> Tensor:
    """Mean of per-class AP in percent over ``classes``, those without positives as 0 or left out."""
    return 100.0 * _mean(ap.where(present, 0.0), classes if compat == "reference" else present)


def asl_average_precision(scores: Tensor, target: Tensor, *, known_only: bool = False) -> Tensor:
    """Return AP as the ASL, CSL and Hill/SPLC code computes it, (..., L): precision summed at positives / (P + 1e-8).

    Equal scores keep the order of the examples here; without ties it differs from
    :func:`average_precision` by the 1e-8 only. A class without positives has 0.

    Ridnik et al., Asymmetric Loss, ICCV 2021, arXiv:2009.14119.
    """
    rows, classes = scores.mT.contiguous(), target.mT.expand(scores.mT.shape)
    order = rows.sort(dim=-1, descending=True, stable=True).indices
    hits = (classes == POSITIVE).gather(-1, order)
    counted = (classes != UNKNOWN if known_only else torch.ones_like(hits)).gather(-1, order)
    total = row_sums(_ratio(hits.cumsum(-1), counted.cumsum(-1)) * hits)
    return (total / (real(hits.sum(-1)) + ASL_EPSILON)).masked_fill(rows.isnan().any(-1), torch.nan)


def asl_mean_average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Return the ASL family's mAP in percent, (...,): absent classes count as 0."""
    ap = asl_average_precision(scores, target)
    return 100.0 * row_sums(ap) / ap.shape[-1]


class PartialMetrics(NamedTuple):
    """CSL's figures on partially known labels.

    Attributes:
        ap: (..., L) float64, in [0, 1]; meaningful where used.
        used: (L,) bool, whether some positive and some negative are known.
        mean: percent, plain mean over used classes, (...,).
        weighted: percent, used classes weighted by their number of positives, (...,).
        no_label: number of classes of which nothing is known.
        no_negative: number of classes with known positives only.
        no_positive: number of classes with known negatives only.
    """

    ap: Tensor
    used: Tensor
    mean: Tensor
    weighted: Tensor
    no_label: Tensor
    no_negative: Tensor
    no_positive: Tensor


def partial_metrics(scores: Tensor, target: Tensor) -> PartialMetrics:
    """Return average precision over known entries, for classes that have both kinds of them.

    Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware Selective Loss,
    CVPR 2022, arXiv:2110.10955.
    """
    ap = asl_average_precision(scores, target, known_only=True)
    positives, negatives = (target == POSITIVE).sum(-2), (target == NEGATIVE).sum(-2)
    some, other = positives > 0, negatives > 0
    used = some & other
    weights = real(positives).where(used, 0.0)
    return PartialMetrics(
        ap=ap,
        used=used,
        mean=100.0 * _mean(ap, used),
        weighted=100.0 * row_sums(ap * weights) / row_sums(weights).clamp(min=1),
        no_label=(~some & ~other).sum(-1),
        no_negative=(some & ~other).sum(-1),
        no_positive=(~some & other).sum(-1),
    )


class TopK(NamedTuple):
    """Means over images, in [0, 1], (...,) each.

    Attributes:
        precision: hits among the k best classes over k.
        recall: hits among the k best classes over the positives of the image.
        hit: share of images with a hit.
    """

    precision: Tensor
    recall: Tensor
    hit: Tensor


def top_k(scores: Tensor, target: Tensor, k: int) -> TopK:
    """Return precision@k, recall@k and the share of images with a positive among their k best classes.

    precision = hits / k, recall = hits / positives; both are 0 for an image without positives, which stays in the
    mean (Cole et al., CVPR 2021). Where L < k all classes are taken and k stays in the denominator. The order of equal
    scores is the device's.
    """
    positive = (target == POSITIVE).expand(scores.shape)
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices  # (..., N, min(k, L))
    hits = positive.gather(-1, best).sum(-1)  # (..., N)
    each = torch.stack([_ratio(hits, torch.full_like(hits, k)), _ratio(hits, positive.sum(-1)), real(hits > 0)])
    means = row_sums(each) / hits.shape[-1]  # (3, ...)
    return TopK(*means.masked_fill(_broken(scores), torch.nan))


class ThresholdMetrics(NamedTuple):
    """Precision, recall and F1 in percent, (...,) each.

    Attributes:
        OP: precision over all entries together (overall).
        OR: recall over all entries together.
        OF1: harmonic mean of OP and OR.
        CP: mean over classes of the precision.
        CR: mean over classes of the recall.
        CF1: harmonic mean of CP and CR, not the mean of per-class F1.
        macro_F1: mean over classes of the F1.
    """

    OP: Tensor
    OR: Tensor
    OF1: Tensor
    CP: Tensor
    CR: Tensor
    CF1: Tensor
    macro_F1: Tensor  # noqa: N815 - the name reports carry


def threshold_metrics(
    scores: Tensor, target: Tensor, *, threshold: float = 0.5, compat: Compat = "fixed"
) -> ThresholdMetrics:
    """Return precision, recall and F1 of the predictions ``scores >= threshold``, over known entries.

    A class for which nothing is predicted has precision 0. Class means run over the classes with positives
    (``fixed``) or over all of them (``reference``).

    Args:
        scores: (..., N, L); probabilities for the usual threshold 0.5.
        target: (N, L) or (..., N, L).
        threshold: in the units of ``scores``.
        compat: see the module.
    """
    figures = _threshold_metrics(_count_columns(scores, target, threshold), compat)
    return ThresholdMetrics(*(100.0 * figures).masked_fill(_broken(scores), torch.nan))


class _Counts(NamedTuple):
    """Known entries of each class as float64; (..., L), of the labels alone (L,)."""

    hits: Tensor  # predicted and positive
    predicted: Tensor
    positive: Tensor
    known: Tensor


def _count(scores: Tensor, positive: Tensor, known: Tensor, threshold: float) -> _Counts:
    """Count along rows, one class each; along columns it takes several times as long."""
    predicted = (scores >= threshold) & known  # (..., L, N)
    return _Counts(*map(row_counts, (predicted & positive, predicted, positive, known)))


def _count_columns(scores: Tensor, target: Tensor, threshold: float) -> _Counts:
    classes = _classes(target)
    return _count(scores.mT.contiguous(), classes == POSITIVE, classes != UNKNOWN, threshold)


def _threshold_metrics(counts: _Counts, compat: Compat) -> Tensor:
    """Return the seven figures of :class:`ThresholdMetrics` in its order, in [0, 1], (7, ...)."""
    hits, predicted, positive, _ = counts
    part = torch.stack([hits, hits, hits + hits])  # (3, ..., L): precision, recall and F1 of each class
    whole = torch.stack([predicted, positive.expand_as(predicted), predicted + positive])
    classes = torch.ones_like(positive, dtype=torch.bool) if compat == "reference" else positive > 0
    overall, by_class = part.sum(-1) / whole.sum(-1).clamp(min=1), _mean(part / whole.clamp(min=1), classes)
    both = torch.stack([overall[:2], by_class[:2]])  # (2, 2, ...): overall and by class; precision and recall
    precision, recall = both.unbind(1)
    total = precision + recall  # 0 where both are 0, and so is F1 then
    f1 = (2.0 * precision * recall / total.clamp(min=torch.finfo(total.dtype).tiny))[:, None]
    return torch.cat([torch.cat([both, f1], dim=1).flatten(0, 1), by_class[2:]])


def hamming_loss(scores: Tensor, target: Tensor, *, threshold: float = 0.5) -> Tensor:
    """Return the share of known entries whose prediction ``scores >= threshold`` is wrong, in [0, 1], (...,)."""
    return _hamming_loss(_count_columns(scores, target, threshold)).masked_fill(_broken(scores), torch.nan)


def _hamming_loss(counts: _Counts) -> Tensor:
    wrong = counts.predicted + counts.positive - 2 * counts.hits
    return wrong.sum(-1) / counts.known.sum(-1).clamp(min=1)


class RankingMetrics(NamedTuple):
    """Means over images in [0, 1]; definitions of Zhang and Zhou, IEEE TKDE 26(8), 2014.

    Attributes:
        ranking_loss: share of wrongly ordered pairs of a positive and a negative.
        one_error: share of images whose best score belongs to a negative.
        coverage: how far down the ranking the last positive stands.
        sample_AP: average precision of each image's ranking of classes.
    """

    ranking_loss: Tensor
    one_error: Tensor
    coverage: Tensor
    sample_AP: Tensor  # noqa: N815 - the name reports carry


def ranking_metrics(scores: Tensor, target: Tensor) -> RankingMetrics:
    """Return the label-ranking figures of each image over its known labels, averaged over images, (...,) each.

    * ranking loss: share of (positive, negative) pairs in which the negative scores at least as high; images
      that have no such pair are left out.
    * one-error: share of images whose best score belongs to a negative; a tie at the top with one is an error.
    * coverage: (places from the top needed to include every positive - 1) / L, so 0 <= coverage < 1.
    * sample AP: mean over an image's positives of the precision at their place (label ranking average precision).

    Ties count against the prediction, as in scikit-learn. The last three leave out images without positives.
    """
    known = target != UNKNOWN
    ranks = rank_positives(scores, target == POSITIVE, known)  # one image a row
    means = _ranking_metrics(ranks, row_counts(known), scores.shape[-1])
    return RankingMetrics(*means.masked_fill(ranks.broken.any(-1), torch.nan))


def _ranking_metrics(ranks: Ranks, known: Tensor, num_classes: int) -> Tensor:
    """Return the figures of :class:`RankingMetrics` in its order, (4, ...).

    Args:
        ranks: of images.
        known: (N,) number of known labels of each image.
        num_classes: L.
    """
    above, count = ranks.above * ranks.taken, ranks.positives  # (..., N, W), (N,)
    wrong = above - ranks.hits * ranks.taken  # negatives at or above each positive
    pairs = count * (known - count)
    deepest = above.amax(-1) if above.shape[-1] else row_sums(above)  # of the worst positive; 0 without one
    each = torch.stack(  # (4, ..., N), 0 for images that are left out
        [
            row_sums(wrong) / pairs.clamp(min=1),
            real(wrong[..., :1].any(-1)),  # of the best positive
            (deepest - 1).clamp(min=0) / num_classes,
            ranks.precision() / count.clamp(min=1),
        ]
    )
    pairs, some = row_counts(pairs > 0).clamp(min=1), row_counts(count > 0).clamp(min=1)
    totals = row_sums(each)  # (4, ...)
    return torch.cat([totals[:1] / pairs, totals[1:] / some])


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
        percent, and empty_classes, the number of classes without a positive. If a logit is NaN, so are all but the
        last.
    """
    return stacked_multilabel_metrics(logits[None], target, threshold=threshold, compat=compat)[0]


def stacked_multilabel_metrics(
    logits: Tensor, target: Tensor, *, threshold: float = 0.5, compat: Compat = "fixed"
) -> list[dict[str, float]]:
    """Return :func:`multilabel_metrics` of K models at once, for one copy to the host.

    Args:
        logits: (K, N, L), N >= 1.
        target: (N, L) truth of them all.
        threshold: see :func:`multilabel_metrics`.
        compat: see the module.
    """
    positive, known = target == POSITIVE, target != UNKNOWN
    by_class, is_positive, is_known = (entries.mT.contiguous() for entries in (logits, positive, known))  # (..., L, N)
    chances = probabilities(by_class)
    counts = _count(chances, is_positive, is_known, threshold)
    ranks = rank_positives(chances if compat == "reference" else by_class, is_positive, is_known)
    present = counts.positive > 0
    mean_ap = _class_mean(ranks.precision() / counts.positive, present, counts.known > 0, compat)  # (K,), percent
    # One image a row.
    image_ranks = rank_positives(probabilities(logits) if compat == "reference" else logits, positive, known)
    ranking = _ranking_metrics(image_ranks, row_counts(known), logits.shape[-1])
    shares = torch.cat([_threshold_metrics(counts, compat), _hamming_loss(counts)[None], ranking])  # (12, K)
    figures = torch.cat([mean_ap[None], 100.0 * shares]).masked_fill(_broken(logits), torch.nan)
    empty = row_counts(~present).expand(1, len(logits))
    rows = torch.cat([figures, empty]).T.tolist()  # the one host copy
    names = ("mAP", *ThresholdMetrics._fields, "hamming_loss", *RankingMetrics._fields, "empty_classes")
    return [dict(zip(names, row, strict=True)) for row in rows]
