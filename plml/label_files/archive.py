"""Archives of plain arrays."""

import zipfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from plml.data.plain_arrays import load_npz
from plml.errors import DataError


def read_archive(path: Path, expected: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz``, never unpickling; raise DataError naming the file and ``expected``."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise DataError(f"{path}: is no archive of arrays; expected {expected}")
        return load_npz(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); expected {expected}") from None
