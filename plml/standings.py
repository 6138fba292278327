"""Where what was observed stands in the rankings of K models: every class is sorted once, for all criteria.

Equal scores share one threshold, so no figure depends on the order of the images.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from plml.compat import Compat
from plml.labels import NEGATIVE, POSITIVE
from plml.mechanism import CandidateNoise, Mechanism
from plml.ranks import Ranks, count_at_most, probabilities, real, rising, row_counts, row_sums, sort_rows_


class Places(NamedTuple):
    """The entries of interest of each class, in the first of W places."""

    rows: Tensor  # (L, W) int64 image
    taken: Tensor  # (L, W) bool: an entry stands at this place
    counts: Tensor  # (L,) float64

    @classmethod
    def of(cls, entries: Tensor) -> "Places":
        """Find the entries (L, N) bool."""
        counts = row_counts(entries)
        width = int(counts.max()) if counts.numel() else 0
        rows = entries.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices[:, :width]
        return cls(rows, torch.arange(width, device=entries.device) < counts[:, None], counts)


@dataclass(frozen=True)
class Evidence:
    """What a criterion looks at besides scores.

    Attributes:
        labels: (N, L) int8, observed or clean.
        mechanism: how labels got lost; None if nobody says, or nothing did.
        cardinality: positives of each image, (N,) float64, where the mechanism asks for it; None: to be estimated.
        exact: whether that is the images' own number, and not one for all of them.
        rate: P(candidate | negative), where the mechanism is noise, in [0, 1).
    """

    labels: Tensor
    mechanism: Mechanism | None = None
    cardinality: Tensor | None = None
    exact: bool = True
    rate: float = 0.0

    @cached_property
    def positive(self) -> Places:
        """What is said to be positive; of candidate sets, which say it of nothing, the candidates."""
        positive = (self.labels == POSITIVE).mT
        if isinstance(self.mechanism, CandidateNoise) and not bool(positive.any()):
            return self.candidates
        return Places.of(positive)

    @cached_property
    def candidates(self) -> Places:
        """What may be positive: whatever is no known negative."""
        return Places.of((self.labels != NEGATIVE).mT)


class Standings:
    """Rankings of the images by every class of every model.

    Args:
        logits: (..., N, L), leading dimensions are models of their own.
        compat: ``reference`` ranks sigmoid outputs, whose saturation makes ties; ``fixed`` logits.
    """

    def __init__(self, logits: Tensor, compat: Compat) -> None:
        self.logits = logits
        scores = probabilities(logits) if compat == "reference" else logits
        self.rising = rising(scores.mT)  # (..., L, N), the best first when sorted
        self._ranks: list[tuple[Places, Ranks]] = []

    @cached_property
    def ordered(self) -> Tensor:
        """Rows of :attr:`rising`, sorted, (..., L, N)."""
        return sort_rows_(self.rising.clone())

    @cached_property
    def broken(self) -> Tensor:
        """Whether a class has a score that is NaN, (..., L)."""
        return self.rising.isnan().any(-1)

    def scores_at(self, places: Places) -> Tensor:
        """Return the rows of :attr:`rising` at ``places``, infinity where none is taken, (..., L, W)."""
        rows = places.rows.expand(*self.rising.shape[:-1], -1)
        return self.rising.gather(-1, rows).where(places.taken, torch.inf)

    def ranks(self, places: Places) -> Ranks:
        """Return the ranks of the entries at ``places`` among all, the best score first; found once."""
        for known, ranks in self._ranks:
            if known is places:
                return ranks
        best = sort_rows_(self.scores_at(places))
        hits = count_at_most(best, best).minimum(places.counts[:, None])
        ranks = Ranks(hits, count_at_most(self.ordered, best), places.taken, places.counts, self.broken)
        self._ranks.append((places, ranks))
        return ranks

    def weighted_ranks(self, places: Places, weights: Tensor) -> tuple[Ranks, Tensor, Tensor]:
        """Return ranks, and at each place the weight of the entry and of all entries that score at least as high.

        Args:
            places: entries of interest.
            weights: (L, W) or (..., L, W) of the entries, in the order of ``places``.

        Returns:
            Ranks, own weights and heaped weights (..., L, W); 0 where no entry stands.
        """
        ranks = self.ranks(places)
        own = real(weights).where(places.taken, 0.0)
        order = self.scores_at(places).argsort(dim=-1, stable=True)
        own = own.expand(order.shape).gather(-1, order)
        heaps = own.cumsum(-1).gather(-1, (ranks.hits.long() - 1).clamp(min=0))
        return ranks, own, heaps

    def auc(self, places: Places) -> Tensor:
        """Return P(an entry at ``places`` scores above one elsewhere), ties counting half, (..., L) in [0, 1].

        Where there is nothing to compare it is 1.
        """
        best = sort_rows_(self.scores_at(places))
        ranks = self.ranks(places)
        above = count_at_most(self.ordered, best, strictly=True) - count_at_most(best, best, strictly=True)
        lost = row_sums(((ranks.above - ranks.hits + above) / 2).where(places.taken, 0.0))
        others = self.rising.shape[-1] - places.counts
        return (1.0 - lost / (places.counts * others).clamp(min=1)).masked_fill(self.broken, torch.nan)
