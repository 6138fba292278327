"""Reading named arrays from .npy folders, .npz and MATLAB files, never unpickling."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plml.data.files import others_like, read_array, require_unique
from plml.data.memory import require_memory
from plml.data.plain_arrays import load_npz
from plml.errors import DataError, nearest

Arrays = Mapping[str, NDArray[Any]]


def read_archive(path: Path) -> Arrays:
    """Return the arrays of a .npz or .mat file; raise DataError naming the file."""
    if not path.is_file():
        raise DataError(
            f"{path}: is not a file; expected named arrays, .npz or .mat{others_like(path, '*.[nm][pa][zt]')}"
        )
    return _read_mat(path) if path.suffix == ".mat" else _read_npz(path)


def _read_npz(path: Path) -> Arrays:
    try:
        return load_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not a whole .npz file ({error})") from None


def _read_mat(path: Path) -> Arrays:
    from scipy.io import loadmat, whosmat

    try:
        # Sizes first: what is compressed can unpack to a thousand times its length. No number has more than 16 bytes.
        require_memory(sum(16 * math.prod(shape) for _, shape, _ in whosmat(path)), "its arrays could unpack to")
        tree = loadmat(path)
    except NotImplementedError:
        raise DataError(f"{path}: is a MATLAB 7.3 file (HDF5); save it with -v7, or as .npz") from None
    except Exception as error:  # its reader checks little, and a damaged file can end in any error
        raise DataError(f"{path}: is not a whole MATLAB file ({error or type(error).__name__})") from error
    arrays = {name: value for name, value in tree.items() if not name.startswith("__")}
    return {name: value.toarray() if hasattr(value, "toarray") else value for name, value in arrays.items()}


def read_array_folder(folder: Path) -> Arrays:
    """Return the ``.npy`` files of a folder by name, memory-mapped."""
    return {path.stem: read_array(path, "one array", mmap=True) for path in sorted(folder.glob("*.npy"))}


def find_array(arrays: Arrays, named: str | None, usual: Sequence[str], option: str, where: Path) -> str:
    """Return the name of an array: the ``named`` one, or the first of the ``usual`` names that is there.

    Raises:
        DataError: there is none; the arrays that are there are listed.
    """
    if named is not None and named not in arrays:
        raise DataError(f"{where}: has no array '{named}' ({option}){nearest(named, arrays)}")
    found = [named] if named is not None else [name for name in usual if name in arrays]
    if not found:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise DataError(f"{where}: has none of {', '.join(usual)}; name one with {option}; it holds {held}")
    return found[0]


def names_from(array: NDArray[Any] | None, count: int, prefix: str, where: Path) -> list[str]:
    """Return the ``count`` names in ``array``, or numbered ones without it; raise DataError if they do not fit."""
    if array is None:
        return [f"{prefix}_{number:0{len(str(max(count - 1, 0)))}d}" for number in range(count)]
    # MATLAB's cell arrays come as arrays of arrays with one text each.
    names = [
        str(name.item() if isinstance(name, np.ndarray) and name.size == 1 else name).strip() for name in array.flat
    ]
    if len(names) != count:
        raise DataError(f"{where}: holds {len(names)} names, expected {count}")
    require_unique(names, where)
    return names
