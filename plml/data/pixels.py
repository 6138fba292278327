"""The field's image pipeline: exact square resize, and ImageNet normalisation.

Resizing happens once, on the decoded picture; normalisation (and flipping, in the trainer) on batches, on the
device. This is bit-exact to torchvision's ``Resize, ToTensor, Normalize`` on each image. Images that crops are cut from
are kept at source scale instead.

As in torchvision, of an animated image the first frame counts, and a rotation in the EXIF data does not.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plml.errors import ConfigError, DataError
from plml.models.normalization import normalize

__all__ = [
    "RESIZE_RULE",
    "SOURCE_RULE",
    "decode",
    "decode_bytes",
    "decode_source",
    "image_suffixes",
    "max_pixels",
    "normalize",
    "read_size",
    "resize",
    "source_size",
]

RESIZE_RULE = "rgb-square-bilinear"  # part of every cache key; change it when `resize` changes
SOURCE_RULE = "rgb-source-short2-long4"  # likewise, of `source_size` and `decode_source`

MAX_PIXELS = "PLML_MAX_IMAGE_PIXELS"  # environment variable: largest image that is decoded, in pixels
# What pictures are published in. Pillow knows forty more, among them PostScript, for which it starts Ghostscript.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")


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


def decode_bytes(content: bytes, size: int, name: str) -> NDArray[np.uint8]:
    """Do as :func:`decode` with the content of a file, which errors call ``name``."""
    with _opened(name, BytesIO(content)) as image:
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


def max_pixels() -> int | None:
    """Return how many pixels an image may have: PLML_MAX_IMAGE_PIXELS, else Pillow's limit of 89,478,485.

    A file of a hundred bytes can say that it has a billion pixels, and decoding would ask for the memory.

    Raises:
        ConfigError: the variable is no number of pixels.
    """
    text = os.environ.get(MAX_PIXELS)
    if text is None:
        return Image.MAX_IMAGE_PIXELS
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{MAX_PIXELS} must be a number of pixels of at least 1, got '{text}'")
    Image.MAX_IMAGE_PIXELS = int(text)  # Pillow looks, too, and refuses what has twice as many
    return int(text)


@cache
def _known_formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def image_suffixes() -> frozenset[str]:
    """Return the endings of file names, ``.jpg`` and the like, of the formats that are read here."""
    known = (*_known_formats(), "MPO")  # which Pillow opens as JPEG and does not list
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in known)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # converting would cut off, not scale, what is above 255
        raise DataError(
            f"{getattr(image, 'filename', '') or 'the image'}: has more than 8 bits a channel (mode {image.mode}), "
            "which have no agreed meaning as a photo; convert it to 8 bits"
        )
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def _opened(path: Path | str, content: BytesIO | None = None) -> Iterator[Image.Image]:
    """Open an image file, or ``content``, which is called ``path``."""
    limit = max_pixels()
    try:
        with Image.open(content or path, formats=_known_formats()) as image:
            if limit is not None and image.width * image.height > limit:
                raise DataError(
                    f"{path}: {image.width} x {image.height} pixels are over the limit of {limit} pixels "
                    f"({MAX_PIXELS} raises it)"
                )
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {error} ({MAX_PIXELS} raises the limit)") from None
    except Exception as error:  # decoders let through whatever their libraries raise
        what = str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__} {error}".strip()
        raise DataError(f"{path}: expected a whole, readable image, but decoding failed: {what}") from error
