"""ImageNet normalisation, on batches and on their device."""

from functools import cache

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor) -> Tensor:
    """Scale uint8 images (B, 3, H, W) to [0, 1] and normalise them with ImageNet's mean and standard deviation."""
    if images.device.type == "cpu" and images.dtype == torch.uint8:
        return _normalize_one_by_one(images)
    mean, std = _statistics(images.device)
    return images.float().div(255).sub_(mean[:, None, None]).div_(std[:, None, None])


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (3,) on ``device``, copied there once: each copy would wait for the device."""
    return torch.tensor(IMAGENET_MEAN, device=device), torch.tensor(IMAGENET_STD, device=device)


def _normalize_one_by_one(images: Tensor) -> Tensor:
    """Normalise on a CPU, image by image, so that the steps between read and write its cache and not the memory."""
    mean, std = _statistics(images.device)
    lines = images.permute(0, 2, 3, 1)
    if lines.is_contiguous():  # channels last: a line of pixels is one vector, red, green, blue, red, ...
        count, height, width, channels = lines.shape
        given = lines.reshape(count, height, width * channels)
        mean, std = mean.repeat(width), std.repeat(width)
        result = torch.empty(given.shape)
        shaped = result.view(lines.shape).permute(0, 3, 1, 2)
    else:
        given, mean, std = images, mean[:, None, None], std[:, None, None]
        shaped = result = torch.empty(images.shape)
    for place, image in zip(result, given, strict=True):
        place.copy_(image).div_(255).sub_(mean).div_(std)
    return shaped
