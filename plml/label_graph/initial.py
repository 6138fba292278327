"""Where a label graph starts: identity, co-occurrence of observed labels, or a file. Entries lie in [0, 1]."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.data.plain_arrays import load_npy
from plml.errors import ConfigError, DataError, nearest
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelInfo

GraphInit = Literal["identity", "cooccurrence", "file"]


def initial_graph(init: GraphInit, labels: LabelInfo, file: str | None = None) -> Tensor:
    """Return the (L, L) float32 graph to start from.

    Args:
        init: ``identity``, ``cooccurrence`` (see :func:`cooccurrence`) or ``file``.
        labels: observed labels and class names.
        file: an ``.npy`` or ``.csv`` matrix (see :func:`read_graph`); only with ``file``.

    Raises:
        ConfigError: a file is missing, or given without being used.
        DataError: the file does not hold a graph of these classes.
    """
    if (init == "file") != (file is not None):
        raise ConfigError(f"method.graph_file belongs to method.graph_init: file, got {file!r} with '{init}'")
    if file is not None:
        return read_graph(Path(file), labels.class_names, labels.observed.shape[1])
    if init == "cooccurrence":
        return cooccurrence(labels.observed.cpu())
    return torch.eye(labels.observed.shape[1])


def cooccurrence(observed: Tensor) -> Tensor:
    """Return how much the positives of two classes overlap, (L, L): symmetric, in [0, 1], diagonal 1.

        C_ab = n_ab / sqrt(n_a|b n_b|a)

    n_ab counts the examples in which both classes are positive, n_a|b those in which a is positive and b is known.
    With complete labels this is the cosine of the two label columns; labels hidden at random leave its expectation
    as it is. A class without a single known negative reveals its positives only: its unknown labels then count as
    absent, so that a pair is not taken for inseparable because nothing else can be seen.

    A pair that is never positive together has 0. Single positive labels show no pair at all: the result is the
    identity.

    Args:
        observed: (N, L) labels of the training split.
    """
    positive = (observed == POSITIVE).float()  # (N, L)
    only_positives = ~(observed == NEGATIVE).any(dim=0)  # (L,)
    known = ((observed != UNKNOWN) | only_positives).float()  # (N, L)
    together = positive.T @ positive  # (L, L)
    seen = positive.T @ known  # (L, L), n_a|b
    overlap = together / (seen * seen.T).sqrt().clamp(min=1.0)
    return overlap.clamp(max=1.0).fill_diagonal_(1.0)


def read_graph(path: Path, class_names: Sequence[str], num_classes: int) -> Tensor:
    """Read an (L, L) matrix with entries in [0, 1].

    ``.npy`` holds the bare matrix in the data set's column order. ``.csv`` names the classes in its first row and its
    first column, in any order; rows and columns are brought into the data set's order by these names.

    Raises:
        DataError: the file is missing, unreadable, of another shape, names other classes, or leaves [0, 1].
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such label graph file")
    if path.suffix not in (".npy", ".csv"):
        raise DataError(f"{path}: a label graph must be an .npy or .csv file, got '{path.suffix}'")
    try:
        matrix = load_npy(path) if path.suffix == ".npy" else _read_csv(path, class_names)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a label graph ({error})") from None
    if matrix.shape != (num_classes, num_classes):
        raise DataError(f"{path}: a label graph of {num_classes} classes must have as many rows and columns, "
                        f"got shape {matrix.shape}")  # fmt: skip
    if not ((matrix >= 0) & (matrix <= 1)).all():
        wrong = matrix[~((matrix >= 0) & (matrix <= 1))].flat[0]
        raise DataError(f"{path}: entries of a label graph must lie in [0, 1], got {wrong:g}")
    return torch.from_numpy(matrix.astype(np.float32))


def _read_csv(path: Path, class_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the matrix in the order of ``class_names``; without those, in the order of the file's header."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise ValueError("it has no rows under its header")
    columns, names = rows[0][1:], [row[0] for row in rows[1:]]
    order = list(class_names) or columns
    for found, what in ((columns, "column"), (names, "row")):
        for name in found:
            if name not in order:
                raise DataError(f"{path}: {what} '{name}' is not a class of this data set{nearest(name, order)}")
        missing = [name for name in order if name not in found]
        if missing:
            raise DataError(f"{path}: class '{missing[0]}' has no {what} ({len(missing)} classes are missing)")
        if len(set(found)) < len(found):
            raise DataError(f"{path}: a class stands in more than one {what}")
    values = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    return values[np.ix_([names.index(name) for name in order], [columns.index(name) for name in order])]
