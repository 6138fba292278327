"""Finding and reading a data set's files, with errors that say what was expected where."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from plml.data.contained import require_contained, require_no_links_out
from plml.data.plain_arrays import load_npy, map_npy
from plml.errors import DataError, nearest


def require_folder(root: Path | None, data_set: str, expected: str) -> Path:
    """Return ``root`` if it is a folder; raise DataError saying what it should hold."""
    if root is None:
        raise DataError(f"data.root: data set '{data_set}' needs {expected}")
    folder = root.resolve()
    if not folder.is_dir():
        siblings = [str(path) for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        hint = nearest(str(folder), siblings, or_all=False) if siblings else f"; {folder.parent} is not a folder either"
        raise DataError(f"data.root: {folder} is not a folder; data set '{data_set}' needs {expected}{hint}")
    return folder


def read_lines(path: Path, expected: str) -> list[str]:
    """Return the non-empty lines of a text file; raise DataError naming the file and ``expected``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file; expected {expected}") from None
    return [line for line in lines if line.strip()]


def read_array(path: Path, expected: str, *, mmap: bool = False) -> NDArray[Any]:
    """Return the array of a .npy file, never unpickling; raise DataError naming the file and ``expected``."""
    try:
        return map_npy(path) if mmap else load_npy(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); expected {expected}") from None
    except ValueError as error:
        raise DataError(f"{path}: is not a whole .npy file ({error}); expected {expected}") from None


def others_like(path: Path, pattern: str) -> str:
    """Return ``"; <folder> holds a, b"`` for files beside an absent ``path`` that match ``pattern``, or nothing."""
    names = sorted(other.name for other in path.parent.glob(pattern)) if path.parent.is_dir() else []
    return f"; {path.parent} holds {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else ""


def require_unique(names: Sequence[str], path: Path) -> None:
    """Raise DataError when a list names an example twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: lists '{twice[0]}' more than once ({len(twice)} such entries)")


def require_images(folder: Path, names: Sequence[str], listed_in: Path) -> list[Path]:
    """Return ``folder / name`` for all names; raise DataError naming the first that is no file there.

    Each folder is listed once, which is much faster than asking for each file on a network disk.

    Raises:
        DataError: also for a name that leads out of ``folder``, see :mod:`plml.data.contained`.
    """
    require_contained(names, listed_in)
    listings: dict[Path, dict[str, bool]] = {}
    paths = [folder / name for name in names]
    missing, links = [], []
    for path in paths:
        if path.parent not in listings:
            listings[path.parent] = _files(path.parent)
        is_link = listings[path.parent].get(path.name)
        if is_link is None:
            missing.append(path)
        elif is_link:
            links.append(path)
    if missing:
        where = "" if missing[0].parent.is_dir() else f"; {missing[0].parent} is not a folder"
        raise DataError(
            f"{missing[0]}: there is no such image, but {listed_in} lists it "
            f"({len(missing)} of {len(paths)} images are missing{where})"
        )
    require_no_links_out(folder, [*listings, *links])
    return paths


def _files(folder: Path) -> dict[str, bool]:
    """Return the names of the files in a folder, and whether they are links."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries if entry.is_file()}
    except OSError:
        return {}  # the caller names the first file that is missing there
