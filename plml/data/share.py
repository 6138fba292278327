"""The part of a batch that one process computes when several train together."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Consecutive examples of a batch, and how many the whole batch has.

    Every process draws random numbers for the whole batch and uses those of its own examples, so that an example is
    augmented alike wherever it is computed.

    Attributes:
        whole: B, examples of the batch.
        start: place of the first example in it.
        stop: place behind the last one; equal to ``start`` when the share is empty.
    """

    whole: int
    start: int
    stop: int

    @classmethod
    def all_of(cls, count: int) -> "Share":
        """Return the share of a process that is alone."""
        return cls(count, 0, count)

    @classmethod
    def of_rank(cls, count: int, rank: int, size: int) -> "Share":
        """Return the share of process ``rank`` of ``size``; the first shares may be longer by one example."""
        least, more = divmod(count, size)
        start = rank * least + min(rank, more)
        return cls(count, start, start + least + (rank < more))

    def __len__(self) -> int:
        return self.stop - self.start

    def of(self, drawn: Tensor, dim: int = 0) -> Tensor:
        """Return what belongs to this share's examples.

        Args:
            drawn: numbers of the whole batch along ``dim``, B or V * B of them, view by view.
            dim: not negative.
        """
        if len(self) == self.whole:
            return drawn
        return drawn.unflatten(dim, (-1, self.whole)).narrow(dim + 1, self.start, len(self)).flatten(dim, dim + 1)
