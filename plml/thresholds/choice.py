r"""Where to cut scores, so that a figure over estimated labels is largest.

For a threshold t, with estimates :math:`\hat y` of :mod:`plml.thresholds.label_estimates`:

* :math:`TP(t)`, the sum of :math:`\hat y` at or above t, brought into [0, P], and but for ``lee_liu`` to N(t) at most;
* N(t), the number of entries at or above t;
* P, the sum of all :math:`\hat y`, and N, the number of entries.

========================  ============================================================================================
``f1``                    :math:`2 TP / (P + N(t))`
``lee_liu``               :math:`(TP / P)^2 / (N(t) / N)`, Lee and Liu, Learning with Positive and Unlabeled Examples
                          Using Weighted Logistic Regression, ICML 2003: precision times recall over P / N. Where
                          seen positives all count alike it does not depend on how much they count, so it needs no
                          cardinality; and it does not profit from one either.
``cardinality``           :math:`-|N(t) - P|`: as many predicted as there are. Read et al., Classifier Chains for
                          Multi-label Classification, Machine Learning 85, 2011 (all classes at once); PCut of Yang,
                          A Study on Thresholding Strategies for Text Categorization, SIGIR 2001 (class by class).
========================  ============================================================================================

One threshold for all classes is chosen on all entries together. A threshold of each class overfits where labels are
few, so the entries of all classes take part with the weight of a few seen positives, :data:`LEANING`. A seen positive
counts for :math:`\sum \hat y^2 / \sum \hat y`: 1 where labels are known, k where one of an image's k is seen, and more
than 1 among candidates, of which many are none. So :math:`(\sum \hat y)^2 / \sum \hat y^2` positives are seen, which is
how sure P is: Kish's effective sample size. Smoothing the F1 of
infrequent labels is the idea of Lin and Lin, On the Thresholding Strategy for Infrequent Labels in Multi-label
Classification, CIKM 2023; here the other classes smooth it, and not a constant.

``cardinality`` is the default: the place where a noisy count passes a number is a steadier figure than the place where
a noisy curve is highest. On real photos it gave the best mean F1 under every setting (docs/deploying.md).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from plml.errors import DataError
from plml.thresholds.label_estimates import LabelEstimates

CriterionName = Literal["f1", "lee_liu", "cardinality"]
Scope = Literal["class", "global"]
ROUGH = 15.0  # seen positives; a threshold by fewer is a rough guess
LEANING = 10.0  # seen positives of a class that weigh as much as all classes together


class Choice(NamedTuple):
    """Thresholds on logits, and what they are worth by the estimates they were chosen by; all (L,) float64."""

    logits: Tensor  # an entry is predicted if its logit is at least so high
    precision: Tensor  # in [0, 1]; 0 where nothing is predicted
    recall: Tensor  # in [0, 1]; 0 where there are no positives
    f1: Tensor  # in [0, 1]
    positives: Tensor  # estimated number, >= 0
    seen: Tensor  # seen positives that the threshold goes by, >= 0: those of the class, or of all with one threshold

    @property
    def rough(self) -> Tensor:
        """Whether a threshold is a rough guess, (L,) bool: by few positives, or by those of the other classes."""
        return self.seen < ROUGH


class _Curve(NamedTuple):
    """What lies at or above each of T scores of a row, best first; (R, T) float64."""

    scores: Tensor
    hits: Tensor
    above: Tensor


def choose_thresholds(
    logits: Tensor,
    estimates: LabelEstimates,
    *,
    criterion: CriterionName = "cardinality",
    scope: Scope = "class",
    leaning: float = LEANING,
) -> Choice:
    """Return the thresholds at which ``criterion`` is largest; of equally good ones the highest.

    A threshold lies half-way between two scores that occur. Classes of which nothing is estimated to be positive take
    the threshold of all classes.

    Args:
        logits: (N, L), finite.
        estimates: of the labels.
        criterion: see the module.
        scope: a threshold for each class, or one for all.
        leaning: how many seen positives of its own weigh as much in a class as all classes together, >= 0.

    Raises:
        DataError: no entry counts, or none is estimated to be positive.
    """
    scores, values = logits.double().mT, estimates.values.double().mT  # (L, N)
    counted = estimates.counted.mT
    values = values.where(counted, 0.0)
    positives = values.sum(-1).clamp(min=0)  # (L,)
    if not bool(counted.any()) or float(values.sum()) <= 0:
        raise DataError(
            "no label of the validation split says that anything is positive, so no threshold can be chosen"
        )
    pooled = _curve(scores[counted][None], values[counted][None], torch.ones_like(scores[counted])[None].bool())
    together = values.sum().clamp(min=0)[None]
    overall = _best(pooled, criterion, together, counted.sum()[None].double())
    cut = overall.expand(len(scores))
    seen = _seen(values.flatten()).expand(len(scores))
    if scope == "class":
        own = _curve(scores, values, counted)
        seen = _seen(values)
        leaning *= float((values**2).sum() / values.sum())  # what so many seen positives count for
        share = leaning / together
        at = _at(pooled, own.scores)
        leaned = _Curve(own.scores, own.hits + share * at.hits, own.above + share * at.above)
        entries = counted.sum(-1) + share * counted.sum()
        cut = _best(leaned, criterion, positives + leaning, entries).where(positives > 0, cut)
    predicted = (scores >= cut[:, None]) & counted
    above = predicted.sum(-1).double()
    hits = (values * predicted).sum(-1).clamp(min=0).minimum(above).minimum(positives)
    return Choice(
        cut,
        hits / above.clamp(min=1),
        torch.where(positives > 0, hits / positives.clamp(min=torch.finfo(torch.float64).tiny), 0.0),
        2.0 * hits / (positives + above).clamp(min=torch.finfo(torch.float64).tiny),
        positives,
        seen,
    )


def _seen(values: Tensor) -> Tensor:
    """Return how many seen positives estimates (..., N) are worth, (...,): 0 where nothing is estimated positive."""
    return values.sum(-1).clamp(min=0) ** 2 / (values**2).sum(-1).clamp(min=torch.finfo(torch.float64).tiny)


def _curve(scores: Tensor, values: Tensor, counted: Tensor) -> _Curve:
    """Heap up rows (R, N) from the best score down; entries of equal score have the heap of them all."""
    ranked, order = scores.masked_fill(~counted, -torch.inf).contiguous().sort(dim=-1, descending=True, stable=True)
    hits = values.gather(-1, order).cumsum(-1)
    above = counted.gather(-1, order).double().cumsum(-1)
    falling = -ranked.contiguous()
    last = torch.searchsorted(falling, falling, right=True) - 1  # of equal scores
    return _Curve(ranked, hits.gather(-1, last), above.gather(-1, last))


def _at(curve: _Curve, scores: Tensor) -> _Curve:
    """Read a curve of one row at ``scores`` (R, T): what of it lies at or above each."""
    count = torch.searchsorted(-curve.scores[0], -scores.contiguous(), right=True)
    hits, above = (torch.cat([heap.new_zeros(1), heap]) for heap in (curve.hits[0], curve.above[0]))
    return _Curve(scores, hits[count], above[count])


def _best(curve: _Curve, criterion: CriterionName, positives: Tensor, entries: Tensor) -> Tensor:
    """Return the threshold of each row, (R,): half-way below the last score that is predicted."""
    hits = curve.hits.clamp(min=0).minimum(positives[:, None])
    if criterion != "lee_liu":  # whose whole point is not to care how much a positive counts
        hits = hits.minimum(curve.above)
    whole = positives[:, None].clamp(min=torch.finfo(torch.float64).tiny)
    if criterion == "f1":
        worth = 2.0 * hits / (whole + curve.above)
    elif criterion == "lee_liu":
        worth = (hits / whole) ** 2 * entries[:, None] / curve.above.clamp(min=torch.finfo(torch.float64).tiny)
    else:
        worth = -(curve.above - whole).abs()
    finite = curve.scores.isfinite()
    worth = worth.masked_fill(~finite, -torch.inf)
    place = worth.argmax(-1, keepdim=True)  # the first, so the highest threshold
    chosen = curve.scores.gather(-1, place)
    below = curve.scores.where(finite & (curve.scores < chosen), -torch.inf).amax(-1, keepdim=True)
    return torch.where(below.isfinite(), (chosen + below) / 2.0, chosen)[:, 0]
