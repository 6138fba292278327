"""The field's image pipeline: exact square resize, and ImageNet normalisation.

Resizing happens once, on the decoded picture; normalisation (and flipping, in the trainer) on batches, on the
device. This is bit-exact to torchvision's ``Resize, ToTensor, Normalize`` on each image. Images that crops are cut from
are kept at source scale instead.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plml.errors import DataError
from plml.models.normalization import normalize

__all__ = ["RESIZE_RULE", "SOURCE_RULE", "decode", "decode_source", "normalize", "read_size", "resize", "source_size"]

RESIZE_RULE = "rgb-square-bilinear"  # part of every cache key; change it when `resize` changes
SOURCE_RULE = "rgb-source-short2-long4"  # likewise, of `source_size` and `decode_source`


def resize(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return ``image`` as RGB, resized to exactly (size, size, 3); the aspect ratio is not kept."""
    return np.array(_rgb(image).resize((size, size), Image.Resampling.BILINEAR))


def source_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Return width and height at which an image is kept for crops of side ``size``; its own, unless it is large.

    The short side is at most twice ``size`` and the long one four times: a crop of the field's smallest scales still
    has about as many pixels as it is stretched to, and a photo of 12 megapixels takes a tenth of its room.
    """
    scale = min(1.0, 2 * size / min(width, height), 4 * size / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image file and :func:`resize` it; raise DataError naming the file if it cannot be read whole."""
    with _opened(path) as image:
        return resize(image, size)


def decode_source(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """Read an image file as RGB (height, width, 3), shrunk if it is larger; raise DataError as :func:`decode`."""
    with _opened(path) as image:
        kept = _rgb(image)
        if kept.size != (width, height):
            kept = kept.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(kept)


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height that the head of an image file tells; raise DataError as :func:`decode`."""
    with _opened(path) as image:
        return image.size


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise DataError(f"{path}: {image.width} x {image.height} pixels are over the limit of {limit} pixels")
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(f"{path}: expected a whole, readable image, but decoding failed: {error}") from None
