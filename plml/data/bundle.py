"""What training reads: splits with observed labels and decoded inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.data.share import Share
from plml.data.source_images import SourceImages


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
        sources: the part's images at source scale, which training crops are cut from; None where the inputs are no
            files, or nothing is cropped.
    """

    ids: Sequence[str]
    rows: NDArray[np.int64]
    array: NDArray[np.uint8] | NDArray[np.float32]
    truth: Tensor
    observed: Tensor
    sources: SourceImages | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images rather than features."""
        return self.array.ndim == 4

    def gather(self, index: Tensor, *, pin: bool = False) -> Tensor:
        """Return the inputs at split positions ``index`` (B,): uint8 (B, C, H, W), or float32 (B, D).

        Images keep the order of the cache in memory, channels last. With ``pin`` the memory is page-locked, so that
        a copy to a GPU overlaps with computing.
        """
        rows = self.rows[index.numpy()]
        # One copy: numpy writes the rows into memory that torch's allocator keeps for the next batch.
        shape = (len(rows), *self.array.shape[1:])
        taken = torch.empty(shape, dtype=getattr(torch, self.array.dtype.name), pin_memory=pin)
        # Rows are valid by construction; in mode "raise" numpy would fill a buffer and copy it.
        np.take(self.array, rows, axis=0, out=taken.numpy(), mode="clip")
        return taken.permute(0, 3, 1, 2) if self.is_images else taken

    def gather_crops(self, index: Tensor, min_scale: float, device: torch.device, share: Share | None = None) -> Tensor:
        """Return a random crop of each image at ``index`` (B,), cut from ``sources``: uint8 (B, C, H, W) on ``device``.

        With ``share`` they are drawn for all of ``index`` and cut for that part of it. The crops are those of
        RandomResizedCrop, of at least ``min_scale`` of the area, as large as the images of ``array``. They are drawn
        from torch's default CPU generator.
        """
        if self.sources is None:
            raise ValueError("this split has no images at source scale")
        return self.sources.random_crops(self.rows[index.numpy()], min_scale, self.array.shape[1], device, share)


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
