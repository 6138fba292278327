"""The field's image pipeline: exact square resize, random flip, ImageNet normalisation.

Resizing happens once, on the decoded picture; flip and normalisation run on batches, on the device. For this
pipeline that is bit-exact to torchvision's ``Resize, RandomHorizontalFlip, ToTensor, Normalize`` on each image.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from plml.errors import DataError
from plml.models.normalization import normalize

__all__ = ["RESIZE_RULE", "decode", "flip", "normalize", "resize"]

RESIZE_RULE = "rgb-square-bilinear"  # part of every cache key; change it when `resize` changes


def resize(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return ``image`` as RGB, resized to exactly (size, size, 3); the aspect ratio is not kept."""
    return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image file and :func:`resize` it; raise DataError naming the file if it cannot be read whole."""
    try:
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise DataError(f"{path}: {image.width} x {image.height} pixels are over the limit of {limit} pixels")
            return resize(image, size)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(f"{path}: expected a whole, readable image, but decoding failed: {error}") from None


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of a batch (B, C, H, W) left to right with probability 1/2, drawn from ``generator``."""
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)
