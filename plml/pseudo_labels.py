"""What a method takes unknown labels for: its own guesses, never the truth."""

from typing import NamedTuple

from torch import Tensor


class PseudoLabels(NamedTuple):
    """Guesses about unknown entries (N, L) of the training split; None where a method makes no such guess.

    Attributes:
        positive: bool, entries taken for positive, or left out of the loss because they probably are.
        negative: bool, entries marked as negative, or left out because they probably are. A method that assumes every
            unknown label negative marks none.
    """

    positive: Tensor | None = None
    negative: Tensor | None = None
