"""Interpolated average precision, as PASCAL VOC defines it, beside the step-wise one of :mod:`plml.metrics`.

Interpolated precision at a recall is the largest precision at that recall or a higher one. VOC 2007 averages it at
eleven recalls (Everingham et al., IJCV 88(2), 2010); later years take the area under it. Neither is the figure that
the field's single-positive papers report.
"""

import torch
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN


def area_average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Return the area under the interpolated precision-recall curve of each class, in [0, 1], (..., L) float64.

    Args:
        scores: (..., N, L), one model or several.
        target: (N, L) or (..., N, L); UNKNOWN entries are left out. A class without positives gives NaN.
    """
    precision, hits = _interpolated(scores, target)
    found = hits.diff(dim=-2, prepend=torch.zeros_like(hits[..., :1, :])) > 0  # recall rises by 1/P at every positive
    return (precision * found).sum(dim=-2) / (target == POSITIVE).sum(dim=-2)


def eleven_point_average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """Return the mean interpolated precision at the recalls 0, 0.1, ..., 1 of each class, in [0, 1], (..., L) float64.

    Args:
        scores: (..., N, L), one model or several.
        target: (N, L) or (..., N, L); UNKNOWN entries are left out. A class without positives gives NaN.
    """
    precision, hits = _interpolated(scores, target)
    positives = (target == POSITIVE).sum(dim=-2, keepdim=True)  # (1, L)
    total = torch.zeros_like(precision[..., 0, :])
    for tenth in range(11):
        reached = 10 * hits >= tenth * positives  # in whole numbers: recall 0.3 is reached by 3 of 10
        total += (precision * reached).amax(dim=-2)
    return torch.where(positives.squeeze(-2) > 0, total / 11, torch.nan)


def _interpolated(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolated precision and number of positives so far, (..., N, L) each, at falling scores; ties in input order.

    Entries that are left out come last: they neither count nor raise the curve.
    """
    target = target.expand(scores.shape)
    known = target != UNKNOWN
    order = scores.masked_fill(~known, -torch.inf).sort(dim=-2, descending=True, stable=True).indices
    # A known score of minus infinity could stand among those left out, so both kinds are counted, not assumed.
    counted = known.gather(-2, order)
    hits = (target == POSITIVE).gather(-2, order).cumsum(dim=-2)
    precision = hits.double() / counted.cumsum(dim=-2).clamp(min=1)
    return (precision * counted).flip(-2).cummax(dim=-2).values.flip(-2), hits
