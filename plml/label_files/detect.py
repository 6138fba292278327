"""Which format a file has, from its name and its head."""

from pathlib import Path

import numpy as np

from plml.data.files import read_array
from plml.data.plain_arrays import read_head
from plml.errors import DataError
from plml.label_files.base import FORMATS

_TEXT = {".txt": "splc", ".csv": "csl"}


def detect_format(path: Path) -> str:
    """Return the name of the format of ``path``; raise DataError when its name says nothing.

    A ``.npy`` of numbers with NaN is mlcpl's, of objects CoNeS's, and of 1, 0, -1 Cole's (which HCP shares).
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix in _TEXT:
        return _TEXT[suffix]
    if suffix == ".npz":
        return "cones"
    if suffix == ".npy":
        return _of_array(path)
    raise DataError(
        f"{path}: the name does not tell the format of the labels; data.observation.format must be one of "
        f"artifact, {', '.join(sorted(FORMATS))}"
    )


def _of_array(path: Path) -> str:
    try:
        with path.open("rb") as file:
            dtype = read_head(file)[2]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected observed labels") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: is not a whole .npy file ({error}); expected observed labels") from None
    if dtype.hasobject:
        return "cones"
    if dtype.kind == "f" and np.isnan(read_array(path, "observed labels")).any():
        return "mlcpl"
    return "cole"
