"""Average precision of examples that count several times: every bootstrap resample of a test set from one sort.

A resample of N images is a whole number for each of them, how often it was drawn. The order of the scores does not
depend on it, so a class is sorted once, and what a resample needs (how much weight scores at least as high as each
positive) are sums of its weights over stretches of that order. Weights are laid out with one image a row, so a stretch
is a sum of rows, over all resamples at once.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plml.labels import POSITIVE, UNKNOWN

Array = NDArray[Any]
BLOCK = 1_280_000  # weights at a time (5 MB), so that they stay in a processor's cache


def weighted_mean_average_precision(scores: Array, target: Array, weights: Array) -> Array:
    """Return the test mAP under each weighting in percent, (R,), NaN where no class has a positive.

    As :func:`plml.metrics.multilabel_metrics` has it: entries that are UNKNOWN do not count, equal scores share one
    threshold, classes without (weight on) a positive are left out of the mean.

    Args:
        scores: (N, L).
        target: (N, L), 1, 0, or -1 for entries that are not scored.
        weights: (N, R) whole numbers >= 0; float32 is exact up to a sum of 16 million.
    """
    step = max(64, BLOCK // max(1, len(weights)))
    parts = [
        _mean_over_classes(scores, target, np.ascontiguousarray(weights[:, start : start + step], dtype=np.float32))
        for start in range(0, weights.shape[1], step)
    ]
    return np.concatenate(parts)


def weighted_average_precision(scores: Array, target: Array, weights: Array) -> Array:
    """Return one class's average precision under each weighting in [0, 1], (R,), NaN without weight on a positive.

    Args:
        scores: (N,).
        target: (N,).
        weights: (N, R) float32.
    """
    rows = np.flatnonzero(target != UNKNOWN)
    if np.isnan(scores[rows]).any() or not (target == POSITIVE).any():
        return np.full(weights.shape[1], np.nan)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    ranked = scores[order]
    places = np.flatnonzero(target[order] == POSITIVE)
    # Equal scores share a threshold: a positive's precision is that of the last place of its score.
    ends, group = np.unique(np.searchsorted(-ranked, -ranked[places], side="right"), return_inverse=True)
    first_of_group = np.r_[0, np.flatnonzero(np.diff(group)) + 1]
    rows_of = torch.from_numpy(weights)
    above = _sums(rows_of, order[: ends[-1]], np.r_[0, ends[:-1]]).cumsum(0)  # (G, R)
    gained = _sums(rows_of, order[places], first_of_group)  # (G, R)
    hits = gained.cumsum(0)
    total = hits.double().div_(above.clamp_(min=1.0)).mul_(gained).sum(0)
    return (total / hits[-1]).numpy()  # 0 / 0 without weight on a positive


def _sums(weights: torch.Tensor, rows: Array, starts: Array) -> torch.Tensor:
    """Return sums of rows of ``weights`` over stretches of ``rows``, exact as long as weights are whole."""
    stretches = torch.from_numpy(starts.astype(np.int64))
    return torch.nn.functional.embedding_bag(torch.from_numpy(rows), weights, stretches, mode="sum")


def _mean_over_classes(scores: Array, target: Array, weights: Array) -> Array:
    """Return mAP in percent, (R,)."""
    aps = np.stack([weighted_average_precision(scores[:, i], target[:, i], weights) for i in range(scores.shape[1])])
    if np.isnan(scores[target != UNKNOWN]).any():
        return np.full(weights.shape[1], np.nan)
    present = ~np.isnan(aps)
    with np.errstate(invalid="ignore"):
        return 100.0 * np.where(present, aps, 0.0).sum(0) / present.sum(0)
