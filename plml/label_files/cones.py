"""Candidate matrices: 1 candidate, 0 certainly negative; as the projects pickle them, or as plain arrays.

The shipped files are ``.npy`` with a pickled dictionary. Pickle can run any code, so nothing of it is run here, see
:mod:`plml.label_files.pickled`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plml.checkpoint import write_whole
from plml.data.plain_arrays import load_npy, read_head
from plml.errors import DataError
from plml.label_files.archive import read_archive
from plml.label_files.base import FileLabels, LabelFormat
from plml.label_files.pickled import RefusedPickleError, read_pickled
from plml.label_files.rows import ascending_order
from plml.labels import NEGATIVE, UNKNOWN, LabelArray, from_candidates

_CONTENT = "partial_labels"
_EXPECTED = f"candidates, (N, L) of 0 and 1: a .npy of the pickled {{'{_CONTENT}': ...}}, a plain .npy, or an .npz"


class Cones(LabelFormat, name="cones"):
    """A candidate is UNKNOWN, the rest NEGATIVE.

    Without ``image_ids`` the rows ascend by image number; where images have no unique numbers, which is so in none of
    the projects' data sets, they stand in the order of the data set.
    """

    project = "CoNeS and other partial multi-label projects"
    summary = ".npy of a pickled {partial_labels: int32 (N, L) of 0 and 1}, rows by image number; .npz with image_ids"
    holds = frozenset({NEGATIVE, UNKNOWN})

    def read(self, path: Path, num_classes: int, key: str | None) -> FileLabels:
        if path.suffix == ".npz":
            return _from_archive(path, key)
        return FileLabels(_labels(_from_npy(path), path), ascending=True)

    def write(self, path: Path, labels: LabelArray, names: Sequence[str], class_names: Sequence[str]) -> None:
        candidates = (labels != NEGATIVE).astype(np.int32)[ascending_order(names)]
        content = np.array({_CONTENT: candidates}, dtype=object)
        write_whole(path, lambda file: np.save(file, content, allow_pickle=True))

    def file_name(self, data_set: str, part: str) -> str:
        return f"{data_set}_{part}.npy"


def _from_npy(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _matrix(file, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from None
    except RefusedPickleError as error:
        raise DataError(f"{path}: holds more than arrays, so it is not loaded ({error})") from None
    except Exception as error:
        # A damaged pickle can end in any error.
        raise DataError(f"{path}: is damaged, or is no .npy file ({error}); expected {_EXPECTED}") from error


def _matrix(file: BinaryIO, path: Path) -> Any:
    dtype = read_head(file)[2]
    if not dtype.hasobject:
        return load_npy(path)
    content = read_pickled(file)
    # NumPy pickles an array of objects as what it holds: here one object, the dictionary.
    while isinstance(content, list) and len(content) == 1:
        content = content[0]
    return content[_CONTENT] if isinstance(content, dict) and _CONTENT in content else content


def _from_archive(path: Path, key: str | None) -> FileLabels:
    arrays = read_archive(path, _EXPECTED)
    keys = [name for name, array in arrays.items() if array.ndim == 2]
    if key is None and len(keys) == 1:
        key = keys[0]
    if key not in keys:
        got = "it holds several matrices" if key is None else f"there is no matrix '{key}'"
        raise DataError(f"{path}: data.observation.key must name a matrix, {got}: {', '.join(sorted(keys)) or 'none'}")
    numbers, names = arrays.get("image_ids"), arrays.get("class_names")
    labels = _labels(arrays[key], path)
    if numbers is not None and (numbers.shape != (len(labels),) or numbers.dtype.kind not in "iu"):
        raise DataError(f"{path}: image_ids must be ({len(labels)},) integers, got {numbers.shape} of {numbers.dtype}")
    return FileLabels(
        labels,
        numbers=None if numbers is None else numbers.astype(np.int64),
        ascending=numbers is None,
        class_names=None if names is None else [str(name) for name in names],
    )


def _labels(candidates: NDArray[Any], path: Path) -> LabelArray:
    shape = getattr(candidates, "shape", None)
    if shape is None or len(shape) != 2 or not np.isin(candidates, (0, 1)).all():
        raise DataError(f"{path}: expected {_EXPECTED}, got {type(candidates).__name__} of shape {shape}")
    return from_candidates(candidates)
