"""Boxes cut out of images and stretched to one size, antialiased: what torchvision's RandomResizedCrop does to a photo.

On a GPU the whole batch is two batched matrix products, one for the rows and one for the columns; on a CPU each box
goes through torch's own uint8 kernel, which skips the zeros of those matrices. Both agree with Pillow's and
torchvision's bilinear resize up to one grey level of 255, the rounding between the two directions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RATIOS = (3 / 4, 4 / 3)  # of a box's width to its height
TRIES = 10


def draw_boxes(heights: Tensor, widths: Tensor, min_scale: float) -> Tensor:
    """Draw a box in each image as torchvision's RandomResizedCrop does.

    The area share is uniform in [``min_scale``, 1], the ratio of the sides log-uniform in [3/4, 4/3], the place
    uniform. If ten tries do not fit, the box is the largest central one whose ratio is within those limits.

    Args:
        heights: (B,) of the images, on the CPU.
        widths: (B,).
        min_scale: in (0, 1].

    Returns:
        (B, 4) int64: top, left, height, width. Drawn from torch's default CPU generator.
    """
    count = len(heights)
    height, width = heights.double(), widths.double()
    area = torch.empty(TRIES, count, dtype=torch.float64).uniform_(min_scale, 1.0) * height * width
    ratio = torch.empty(TRIES, count, dtype=torch.float64).uniform_(*map(math.log, RATIOS)).exp()
    wide, high = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (wide > 0) & (high > 0) & (wide <= width) & (high <= height)
    first, rows = fits.byte().argmax(dim=0), torch.arange(count)  # the first try that fits
    found = fits.any(dim=0)
    box_w = torch.where(found, wide[first, rows], torch.minimum(width, (height * RATIOS[1]).round()))
    box_h = torch.where(found, high[first, rows], torch.minimum(height, (width / RATIOS[0]).round()))
    place = torch.rand(2, count, dtype=torch.float64)
    top = torch.where(found, (place[0] * (height - box_h + 1)).floor(), ((height - box_h) / 2).floor())
    left = torch.where(found, (place[1] * (width - box_w + 1)).floor(), ((width - box_w) / 2).floor())
    return torch.stack([top, left, box_h, box_w], dim=1).long()


def resized_boxes(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a box out of each image and stretch it to ``size``.

    Args:
        images: (B, C, H, W) uint8, on any device.
        boxes: (B, 4) int64 on the CPU: top, left, height, width.
        size: height and width of the result.

    Returns:
        (B, C, *size) uint8, on the images' device.
    """
    if not len(images):
        return images.new_empty(0, images.shape[1], *size)
    if images.device.type == "cpu":
        return torch.cat(
            [
                resized(image[None, :, top : top + height, left : left + width], size)
                for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True)
            ]
        )
    top, left, height, width = boxes.to(images.device, torch.float32, non_blocking=True).unbind(1)
    return multiplied(
        images,
        triangle_weights(top, height, images.shape[2], size[0]),
        triangle_weights(left, width, images.shape[3], size[1]),
    )


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch uint8 images (B, C, H, W) on the CPU to ``size``, bilinear and antialiased."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def multiplied(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return uint8 (B, C, h, w): ``rows`` (B, h, H) times each uint8 image (B, C, H, W) times ``columns`` (B, w, W)."""
    count, channels, _, width = images.shape
    lines = images.permute(0, 2, 3, 1).to(torch.float32).reshape(count, images.shape[2], width * channels)
    with torch.autocast(images.device.type, enabled=False):
        down = torch.bmm(rows, lines).view(count, -1, width, channels)  # (B, h, W, C)
        across = down.permute(0, 3, 1, 2).reshape(count, -1, width)  # (B, C * h, W)
        result = torch.bmm(across, columns.transpose(1, 2))  # (B, C * h, w)
    return result.view(count, channels, rows.shape[1], -1).round_().clamp_(0, 255).to(torch.uint8)


def triangle_weights(start: Tensor, length: Tensor, num_pixels: int, size: int) -> Tensor:
    """Return the matrices (B, size, num_pixels) that stretch ``length`` pixels from ``start`` to ``size``.

    Pillow's BILINEAR: a triangle as wide as two output pixels, or two input pixels if those are wider, over the pixels
    inside the box, its weights summing to one.
    """
    scale = (length / size)[:, None, None]
    centre = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale  # (B, size, 1)
    pixel = torch.arange(num_pixels, device=start.device) + 0.5
    weights = (1 - (pixel - centre).abs() / scale.clamp(min=1)).clamp_(min=0)  # (B, size, num_pixels)
    begin = start[:, None, None]
    weights = weights * ((pixel > begin) & (pixel < begin + length[:, None, None]))
    return weights / weights.sum(dim=2, keepdim=True)
