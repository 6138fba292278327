"""Colour changes of uint8 images (B, 3, H, W), each image by its own factor: torchvision's, on whole batches.

Factors are (B,) float32 on the images' device; 1 leaves an image as it is. Values agree with
``torchvision.transforms.v2.functional`` on single images up to one level of 255, the rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # ITU-R 601, as Pillow and torchvision weight red, green and blue


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black."""
    return _to_uint8(images * _wide(factor))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey."""
    grey = _grey(images).floor_() if images.shape[1] == 3 else images.float()
    return _blend(images, grey.mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image; images of one channel have no colour to change."""
    return _blend(images, _grey(images).floor_(), factor) if images.shape[1] == 3 else images


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed over 3 x 3 pixels; its border stays as it is."""
    channels, height, width = images.shape[1:]
    if height <= 2 or width <= 2:
        return images
    pixels = images.float()
    kernel = torch.full((channels, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1].fill_(5 / 13)
    inner = pixels[:, :, 1:-1, 1:-1]
    smooth = F.conv2d(pixels, kernel, groups=channels).round_()
    sharper = pixels.clone()
    sharper[:, :, 1:-1, 1:-1] = inner + (smooth - inner) * (1 - _wide(factor))
    return _to_uint8(sharper)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle by ``shift`` (B,) of a whole turn; 0 leaves an image as it is."""
    pixels = images.float() / 255
    red, green, blue = pixels.unbind(1)
    value, least = pixels.amax(dim=1), pixels.amin(dim=1)
    chroma = value - least
    divisor = torch.where(chroma > 0, chroma, 1.0)  # grey has no hue, and keeps none
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )  # (B, H, W), hue in sixths of a turn
    sixth = sixth + 6 * shift[:, None, None]
    turned = []
    for offset in (5, 3, 1):  # red, green, blue
        place = (offset + sixth).remainder(6)
        turned.append(value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1))
    return (torch.stack(turned, dim=1) * 255.999).to(torch.uint8)


def to_grey(images: Tensor) -> Tensor:
    """Give all three channels the image's grey."""
    return _grey(images).to(torch.uint8).expand_as(images)


def _grey(images: Tensor) -> Tensor:
    """Return (B, 1, H, W) float32."""
    red, green, blue = images.unbind(1)
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2]).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    share = _wide(factor)
    return _to_uint8(images * share + other * (1 - share))


def _wide(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]


def _to_uint8(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)
