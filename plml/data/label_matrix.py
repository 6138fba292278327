"""A label matrix in a file of its own, with or without the names of its rows and columns.

* ``.npy``: the matrix.
* ``.npz``: ``labels``, and perhaps ``ids`` and ``class_names``.
* ``.csv``: numbers, or a header ``image,<class>,...`` and the name of the image first in each row.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plml.checkpoint import write_array, write_arrays, write_text
from plml.data.archives import find_array, read_archive
from plml.data.encoded import EMPTY_CELL
from plml.data.files import read_array
from plml.data.tables import read_text
from plml.errors import DataError

NAMES = ("ids", "class_names")
SUFFIXES = (".npy", ".npz", ".csv")
_ID_HEADERS = frozenset({"image", "id", "name", "file", "filename", "file_name", "image_id", ""})


@dataclass(frozen=True)
class LabelMatrix:
    """Labels in some encoding.

    Attributes:
        values: (N, L) numbers.
        ids: N names, or None.
        class_names: L names, or None.
    """

    values: NDArray[Any]
    ids: Sequence[str] | None = None
    class_names: Sequence[str] | None = None


def require_suffix(path: Path) -> None:
    """Raise DataError if the name of a label file does not say what it is."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: the name must end in {', '.join(SUFFIXES)}, got '{path.suffix}'")


def read_matrix(path: Path, encoding: str, key: str | None = None) -> LabelMatrix:
    """Read a label file; raise DataError naming what is wrong with it.

    Args:
        path: the file.
        encoding: what an empty cell of a table stands for depends on it.
        key: array of a .npz file; default: ``labels``, or the only one.
    """
    require_suffix(path)
    if path.suffix == ".csv":
        matrix = _from_csv(path, encoding)
    elif path.suffix == ".npz":
        arrays = read_archive(path)
        usual = ("labels", *arrays) if len(arrays) == 1 else ("labels",)
        ids, class_names = ([str(n) for n in arrays[name]] if name in arrays else None for name in NAMES)
        matrix = LabelMatrix(arrays[find_array(arrays, key, usual, "--key", path)], ids, class_names)
    else:
        matrix = LabelMatrix(read_array(path, "a label matrix, (N, L)"))
    if matrix.values.ndim != 2 or matrix.values.dtype.kind not in "fiub":
        raise DataError(f"{path}: expected (N, L) numbers, got {matrix.values.shape} of {matrix.values.dtype}")
    for names, axis in ((matrix.ids, 0), (matrix.class_names, 1)):
        if names is not None and len(names) != matrix.values.shape[axis]:
            raise DataError(
                f"{path}: has {len(names)} names for {matrix.values.shape[axis]} {('rows', 'columns')[axis]}"
            )
    return matrix


def write_matrix(path: Path, matrix: LabelMatrix) -> None:
    """Write a label file, whole or not at all; raise DataError if it cannot hold the names there are."""
    require_suffix(path)
    named = {name: np.array(names) for name in NAMES if (names := getattr(matrix, name)) is not None}
    if path.suffix == ".npz":
        write_arrays(path, labels=matrix.values, **named)
    elif path.suffix == ".npy":
        if named:
            raise DataError(f"{path}: .npy cannot hold the {' and '.join(named)} of the labels; write .npz or .csv")
        write_array(path, matrix.values)
    else:
        write_text(path, _to_csv(path, matrix))


def _from_csv(path: Path, encoding: str) -> LabelMatrix:
    rows = [row for row in csv.reader(io.StringIO(read_text(path, "a label matrix"))) if any(map(str.strip, row))]
    if not rows:
        raise DataError(f"{path}: is empty; expected a label matrix")
    header = None if all(map(_is_number, rows[0])) else [cell.strip() for cell in rows.pop(0)]
    if not rows:
        raise DataError(f"{path}: has a header and no rows")
    width = len(header or rows[0])
    if any(len(row) != width for row in rows):
        row = next(number for number, row in enumerate(rows, start=1) if len(row) != width)
        raise DataError(f"{path}: row {row} has {len(rows[row - 1])} fields, expected {width}")
    named = header is not None and (header[0].lower() in _ID_HEADERS or not all(_is_number(row[0]) for row in rows))
    ids = [row[0].strip() for row in rows] if named else None
    first = 1 if named else 0
    values = np.array([[_number(path, cell, encoding) for cell in row[first:]] for row in rows])
    return LabelMatrix(values, ids, None if header is None else header[first:])


def _to_csv(path: Path, matrix: LabelMatrix) -> str:
    if (matrix.ids is None) != (matrix.class_names is None):
        raise DataError(f"{path}: a table names rows and columns, or neither; write .npz")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if matrix.class_names is not None:
        writer.writerow(["image", *matrix.class_names])
    for row, values in enumerate(matrix.values):
        cells = [f"{value:g}" for value in values.tolist()]
        writer.writerow(cells if matrix.ids is None else [matrix.ids[row], *cells])
    return text.getvalue()


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _number(path: Path, cell: str, encoding: str) -> float:
    if not cell.strip() and encoding in EMPTY_CELL:
        return EMPTY_CELL[encoding]
    try:
        return float(cell)
    except ValueError:
        raise DataError(f"{path}: '{cell}' is no label in encoding '{encoding}'") from None
