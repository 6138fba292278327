"""NumPy's files from anybody: nothing is unpickled, and no more memory is asked for than the file has content.

NumPy believes what the head of an array says and allocates it, so forty bytes can ask for a terabyte; and a compressed
archive can unpack to a thousand times its size. Both are compared with what is there before anything is read.
"""

import math
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plml.data.memory import require_memory

_HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Head = tuple[tuple[int, ...], bool, np.dtype[Any]]


def read_head(file: BinaryIO) -> Head:
    """Return shape, whether it is in Fortran's order, and type of the array that begins at ``file``.

    Raises:
        ValueError: what is there is no head of an array.
    """
    try:
        version = np.lib.format.read_magic(file)
        # Version 3 differs from 2 in the encoding of field names alone, which no array here has.
        shape, fortran, dtype = _HEADS.get(version, np.lib.format.read_array_header_2_0)(file)
    except (ValueError, EOFError):
        raise
    except Exception as error:  # NumPy evaluates the head as a Python literal, which can end in any error
        raise ValueError(f"its head cannot be read ({type(error).__name__}: {error})") from error
    if any(not isinstance(side, int) or isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"its head says a shape of {shape}")
    return shape, fortran, dtype


def load_npy(path: Path) -> NDArray[Any]:
    """Return the array of an ``.npy`` file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no whole array file, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            _require_whole(file, path.stat().st_size)
            file.seek(0)
            return _checked(np.lib.format.read_array(file, allow_pickle=False))
    except (EOFError, MemoryError, OverflowError, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def map_npy(path: Path, *, writable: bool = False) -> "np.memmap[Any, np.dtype[Any]]":
    """Return the array of an ``.npy`` file, mapped into memory; what is written to it is written to the file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no whole array file, holds Python objects, or nothing.
    """
    try:
        with path.open("rb") as file:
            _require_whole(file, path.stat().st_size)
        array = np.load(path, mmap_mode="r+" if writable else "r", allow_pickle=False)
    except (EOFError, MemoryError, OverflowError, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    assert isinstance(array, np.memmap)
    _checked(array)
    return array


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file by name.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no whole archive of arrays, holds Python objects, or unpacks to more than the free memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            require_memory(sum(member.file_size for member in members), "its arrays unpack to")
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except (OSError, ValueError):
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None  # RuntimeError: it is encrypted
    except (EOFError, MemoryError, OverflowError, TypeError, KeyError) as error:
        raise ValueError(f"it is damaged ({error or type(error).__name__})") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as head:
        _require_whole(head, member.file_size)  # type: ignore[arg-type]  # it reads bytes, which is all that is asked
    with archive.open(member) as file:
        return _checked(np.lib.format.read_array(file, allow_pickle=False))


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    """Return ``array``; raise ValueError if its text has characters that do not exist: Python trips over them."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        order = array.dtype.byteorder
        codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder("S" if order == ">" else "="))
        if int(codes.max()) > sys.maxunicode:
            raise ValueError("its text has characters that do not exist")
    return array


def _require_whole(file: BinaryIO, size: int) -> None:
    """Raise ValueError unless what follows the head in a file of ``size`` bytes is what the head says."""
    shape, _, dtype = read_head(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which are not loaded: that can run code")
    declared, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared > held:
        raise ValueError(f"its head says {shape} of {dtype}, {declared:,} bytes, and {held:,} follow")
