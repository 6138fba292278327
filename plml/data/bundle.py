"""What training reads: splits with observed labels and decoded inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """A training, validation or test split over the rows of an official part.

    Attributes:
        ids: N example names.
        rows: (N,) int64, position of each example in ``array``.
        array: the official part's inputs: images (M, H, W, C) uint8, or features (M, D) float32; may be
            memory-mapped.
        truth: (N, L) int8.
        observed: (N, L) int8.
    """

    ids: Sequence[str]
    rows: NDArray[np.int64]
    array: NDArray[np.uint8] | NDArray[np.float32]
    truth: Tensor
    observed: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images rather than features."""
        return self.array.ndim == 4

    def gather(self, index: Tensor) -> Tensor:
        """Return the inputs at split positions ``index`` (B,): uint8 (B, C, H, W), or float32 (B, D)."""
        taken = torch.from_numpy(np.ascontiguousarray(self.array[self.rows[index.numpy()]]))
        return taken.permute(0, 3, 1, 2) if self.is_images else taken


@dataclass(frozen=True)
class Bundle:
    """Everything a :class:`plml.trainer.Trainer` needs of a data set.

    Attributes:
        expected_positives: declared k, or None.
        flip: whether training flips images.
        digest: names data set and label setting; stamped on results.
        image_size: side in pixels of the square images, also of those that features were extracted from; None
            when the features came ready-made.
    """

    name: str
    class_names: Sequence[str]
    train: Split
    val: Split
    test: Split
    expected_positives: float | None
    flip: bool
    digest: str
    image_size: int | None = None
