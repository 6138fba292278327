"""How many entries score at least as high as each positive: what average precision and its relatives are made of.

Only values are sorted, never values with their places: numpy sorts values ten times as fast as PyTorch sorts pairs
on a CPU, and places are not needed, because a binary search in the sorted row counts the entries that score at least
as high as a positive (equal scores share one threshold, whatever order they came in). Positives are few.

Nothing is copied to the host and no shape depends on what a device holds. On a CPU, where reading a number is free,
the rows of positives are cut to the longest.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# From so many searches in a row on, numpy's search, which starts where the last one ended but is called once a row,
# is faster than PyTorch's, which is called once for all rows (1 to 2 us a row against 0.02 to 0.08 us a search).
MANY = 100


class Ranks(NamedTuple):
    """The positives of each row from the best score down, in the first of W places; counts are float64."""

    hits: Tensor  # (..., R, W) positives of the row that score at least as high, itself included
    above: Tensor  # (..., R, W) counted entries of the row that score at least as high
    taken: Tensor  # (R, W) or (..., R, W) bool: a positive stands at this place; what stands elsewhere means nothing
    positives: Tensor  # (R,) or (..., R): how many there are
    broken: Tensor  # (..., R) bool: some counted score is NaN, so there is no order

    def precision(self) -> Tensor:
        """Return the sum over a row's positives of the precision at their thresholds, (..., R); NaN where broken."""
        total = row_sums((self.hits / self.above).where(self.taken, 0.0))
        return total.masked_fill(self.broken, torch.nan)


def rank_positives(scores: Tensor, positive: Tensor, known: Tensor | None = None) -> Ranks:
    """Return the ranks of the positives within rows.

    Args:
        scores: (..., R, N), any real type; infinite ones take part as the numbers they are.
        positive: (R, N) or (..., R, N) bool.
        known: bool like ``positive``, entries that count, every positive among them; None for all.
    """
    found = row_counts(positive)
    positives = found[..., None]
    width = int(found.max()) if _numpy_serves(found) and found.numel() else scores.shape[-1]
    rows = rising(scores)
    best = sort_rows_(rows.where(positive, torch.inf))[..., :width].contiguous()  # (..., R, W)
    if known is not None:
        rows.masked_fill_(~known, torch.inf)
    ordered = sort_rows_(rows)
    hits, above = count_at_most(best, best), count_at_most(ordered, best)
    # Infinity, a score of minus infinity, is also what fills the places of others: there, all that count are above.
    hits = hits.minimum(positives)
    if known is not None:
        above = above.minimum(row_counts(known)[..., None])
    taken = torch.arange(width, device=scores.device) < positives
    return Ranks(hits, above, taken, found, ordered[..., -1:].isnan().any(-1))  # NaN sorts last


def probabilities(logits: Tensor) -> Tensor:
    """Return the sigmoid of logits, equal logits giving equal probabilities, in single precision at least.

    ``torch.sigmoid`` does not: on a CPU its last bit depends on whether an entry falls into a full vector or into the
    rest behind it, which breaks ties by where scores lie in memory.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.detach().neg().exp_().add_(1.0).reciprocal_()


def row_counts(mask: Tensor) -> Tensor:
    """Return how many entries of each row hold, (..., R, N) bool to (..., R) float64."""
    return real(mask.sum(-1, dtype=torch.int32))  # summing in 64 bits moves and takes four times as much


def real(values: Tensor) -> Tensor:
    """Return ``values`` as float64, or as float32 where the device has no float64 (Apple's MPS)."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def row_sums(values: Tensor) -> Tensor:
    """Sum over the last axis such that a row's sum has the same bits whatever rows stand beside it.

    PyTorch cuts a sum into one part a thread when there is a single one to compute, and only then.
    """
    if values.numel() == values.shape[-1]:
        return values.expand(2, *values.shape).sum(-1)[0]
    return values.sum(-1)


def _numpy_serves(values: Tensor) -> bool:
    """Return whether numpy can work in the tensor's own memory."""
    return values.device.type == "cpu"


def rising(scores: Tensor) -> Tensor:
    """Return a contiguous copy of the scores with its sign turned, so that rows sort from the best score on.

    Halves widen to float32 without loss, whole numbers to float64.
    """
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.to(torch.float32) if scores.is_floating_point() else real(scores)
    return scores.detach().clone(memory_format=torch.contiguous_format).neg_()


def sort_rows_(rows: Tensor) -> Tensor:
    """Sort contiguous rows upwards, NaN last, in place where the device can."""
    if not _numpy_serves(rows):
        return rows.sort(dim=-1).values
    rows.numpy().sort(axis=-1)
    return rows


def count_at_most(ordered: Tensor, wanted: Tensor, *, strictly: bool = False) -> Tensor:
    """Return how many entries of each sorted row (..., R, N) are <= each of ``wanted`` (..., R, W), as float64.

    With ``strictly``, how many are smaller.
    """
    if not _numpy_serves(ordered) or wanted.shape[-1] < MANY:
        return real(torch.searchsorted(ordered, wanted, right=not strictly, out_int32=True))
    found = np.empty(wanted.shape)
    shelves = (array.reshape(-1, array.shape[-1]) for array in (ordered.numpy(), wanted.numpy(), found))
    for row, values, places in zip(*shelves, strict=True):
        places[:] = row.searchsorted(values, side="left" if strictly else "right")
    return torch.from_numpy(found)
