"""Images of different sizes, packed one after the other, and crops cut out of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.data.resample import draw_boxes, resized, resized_boxes
from plml.data.share import Share


@dataclass(frozen=True)
class SourceImages:
    """Images at source scale; see :func:`plml.data.pixels.source_size`.

    Attributes:
        pixels: (bytes,) uint8, each image as (H, W, 3); may be memory-mapped.
        offsets: (N + 1,) int64, where each image begins, and the end.
        sizes: (N, 2) int64, width and height.
    """

    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return one image (H, W, 3) as a view."""
        width, height = self.sizes[row]
        return self.pixels[self.offsets[row] : self.offsets[row + 1]].reshape(height, width, 3)

    def random_crops(
        self, rows: NDArray[np.int64], min_scale: float, size: int, device: torch.device, share: Share | None = None
    ) -> Tensor:
        """Return a random box of each image in ``rows`` (B,), stretched to a square: RandomResizedCrop of the photo.

        Args:
            rows: which images.
            min_scale: smallest share of the area.
            size: side of the result.
            device: where the boxes are stretched; only their pixels, uint8, go there.
            share: of ``rows``, which of them are wanted; boxes are drawn for all.

        Returns:
            uint8 (B, 3, size, size) of the share, on ``device``. Boxes are drawn from torch's default CPU generator.
        """
        widths, heights = torch.from_numpy(self.sizes[rows]).unbind(1)
        boxes = draw_boxes(heights, widths, min_scale)
        if share is not None:
            boxes, rows = share.of(boxes), rows[share.start : share.stop]
        if not len(rows):
            return torch.empty(0, 3, size, size, dtype=torch.uint8, device=device)
        cut = [self._cut(int(row), box) for row, box in zip(rows, boxes.tolist(), strict=True)]
        if device.type == "cpu":
            return torch.cat([resized(torch.from_numpy(box).permute(2, 0, 1)[None], (size, size)) for box in cut])
        tallest, widest = (int(side) for side in boxes[:, 2:].amax(dim=0))
        padded = torch.zeros(len(rows), tallest, widest, 3, dtype=torch.uint8, pin_memory=device.type == "cuda")
        for place, box in zip(padded.numpy(), cut, strict=True):
            place[: box.shape[0], : box.shape[1]] = box
        boxes[:, :2] = 0
        images = padded.to(device, non_blocking=True).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return resized_boxes(images, boxes, (size, size))

    def _cut(self, row: int, box: Sequence[int]) -> NDArray[np.uint8]:
        top, left, height, width = box
        return np.array(self.image(row)[top : top + height, left : left + width])
