"""Images in a request: files in base64, or arrays of pixels. Whatever is wrong with them is the sender's to mend."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plml.errors import DataError
from plml.predictor import Predictor

COLUMN = "image"  # of a table of files


def is_files(images: Any) -> bool:
    """Whether ``images`` are files, and not pixels: a table, or a row of texts or bytes."""
    if hasattr(images, "columns"):
        return True
    if isinstance(images, np.ndarray):
        return images.ndim == 1 and images.size > 0
    return isinstance(images, list | tuple) and bool(images) and not isinstance(images[0], list | tuple | np.ndarray)


def read_files(images: Any, predictor: Predictor) -> list[NDArray[np.uint8]]:
    """Decode files as training does; each (S, S, C).

    Args:
        images: a sequence of image files, each as bytes or as text in base64 (also as a data URL), or a data frame with
            such a column ``image``.
        predictor: says size and channels.

    Raises:
        DataError: one of them is no image; the message says which, counted from 0.
    """
    if hasattr(images, "columns"):
        if COLUMN not in images.columns:
            raise DataError(f"a table of images needs the column '{COLUMN}', got {[str(c) for c in images.columns]}")
        images = images[COLUMN].tolist()
    files: Sequence[Any] = images.tolist() if isinstance(images, np.ndarray) else list(images)
    return [
        predictor.pixels_of(_content(file, f"image {number}"), f"image {number}") for number, file in enumerate(files)
    ]


def read_pixels(images: Any, predictor: Predictor) -> list[NDArray[np.uint8]]:
    """Resize images (B, H, W, C) as training does; each (S, S, C).

    Raises:
        DataError: it is no such array of whole numbers from 0 to 255.
    """
    try:
        array = np.asarray(images)
    except ValueError:
        raise DataError("images of several sizes make no array: send one request for each, or files") from None
    if array.ndim != 4 or array.dtype.kind not in "iu":
        raise DataError(
            f"expected images (B, H, W, {predictor.channels}) of whole numbers, or image files in base64, "
            f"got {array.dtype} of shape {array.shape}"
        )
    if array.dtype != np.uint8:
        if array.size and not (array.min() >= 0 and array.max() <= 255):
            raise DataError(f"pixels must be from 0 to 255, got {array.min()} to {array.max()}")
        array = array.astype(np.uint8)
    if 0 in array.shape[1:]:
        raise DataError(f"images must have pixels, got shape {array.shape}")
    return [predictor.resized(image) for image in array]


def _content(file: Any, name: str) -> bytes:
    if isinstance(file, bytes):
        return file
    if not isinstance(file, str):
        raise DataError(f"{name}: expected an image file in base64, got {type(file).__name__}")
    text = file.partition(",")[2] if file.startswith("data:") else file
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{name}: is no base64: {error}") from None
