"""The field's image pipeline: exact square resize, and ImageNet normalisation.

Resizing happens once, on the decoded picture; normalisation (and flipping, in the trainer) on batches, on the
device. This is bit-exact to torchvision's ``Resize, ToTensor, Normalize`` on each image.
"""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plml.errors import DataError
from plml.models.normalization import normalize

__all__ = ["RESIZE_RULE", "decode", "normalize", "resize"]

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
