"""How frequent a network believes each class to be: the class prior of CSL, as a file.

A table with the columns ``class`` and ``prior``, one row a class. The released code of CSL writes and reads such a
table too, with other column names; a ``.npy`` vector (L,) is read as well.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plml.checkpoint import write_text
from plml.data.plain_arrays import load_npy
from plml.errors import DataError, nearest


def write_prior(path: Path, class_names: Sequence[str], prior: ArrayLike) -> None:
    """Write ``prior`` (L,) as a table; every number is written in full."""
    values = np.asarray(prior, dtype=np.float64)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "prior"])
    writer.writerows([name, repr(value)] for name, value in zip(class_names, values.tolist(), strict=True))
    write_text(path, text.getvalue())


def read_prior(path: Path, class_names: Sequence[str], num_classes: int) -> NDArray[np.float64]:
    """Return the prior (L,) of the classes, in their order.

    Args:
        path: a table whose first column names the class and whose second is its prior, or a ``.npy`` vector.
        class_names: L names, by which rows of a table are found; empty: rows are in the order of the classes.
        num_classes: L.

    Raises:
        DataError: the file is missing or unreadable, lacks a class, or holds what is no probability.
    """
    if not path.is_file():
        siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"class prior {path} is not a file{nearest(str(path), siblings) if siblings else ''}")
    values = _vector(path) if path.suffix == ".npy" else _table(path, class_names)
    if len(values) != num_classes:
        raise DataError(f"class prior {path} must have one value for each of {num_classes} classes, got {len(values)}")
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise DataError(f"class prior {path} must hold probabilities, got {values[wrong][0]:g}")
    return values


def _vector(path: Path) -> NDArray[np.float64]:
    try:
        values = load_npy(path)
    except (OSError, ValueError) as error:
        raise DataError(f"class prior {path} is not an array file: {error}") from None
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"class prior {path} must be a vector of floats, got {values.dtype} of shape {values.shape}")
    return values.astype(np.float64)


def _table(path: Path, class_names: Sequence[str]) -> NDArray[np.float64]:
    """Values of a table, ordered by class name when there are names."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:]  # the first one is the header
        pairs = [(row[0], float(row[1])) for row in rows]
    except (IndexError, ValueError, csv.Error):
        raise DataError(f"class prior {path} must be a table with the columns class and prior") from None
    if not class_names:
        return np.array([value for _, value in pairs])
    by_name = dict(pairs)
    if len(by_name) != len(pairs):
        raise DataError(f"class prior {path} names a class twice")
    for name in class_names:
        if name not in by_name:
            raise DataError(f"class prior {path} has no class '{name}'{nearest(name, by_name)}")
    for name in by_name:
        if name not in class_names:
            raise DataError(f"class prior {path} has a class '{name}' too many{nearest(name, class_names)}")
    return np.array([by_name[name] for name in class_names])
