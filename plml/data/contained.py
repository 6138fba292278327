"""Names that come out of data: they name files below a folder, and nothing else.

A list, a table or a JSON file that somebody else wrote says which images there are. What it names is opened, so a name
must not lead out of the folder that the configuration gives: not by ``..``, not by an absolute path, on no platform,
and not by a link.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from plml.errors import DataError

ALLOW_LINKS = "PLML_ALLOW_LINKS"  # environment variable: 1 follows links out of a data set's folder
_MAX_NAME, _MAX_PATH = 255, 4095  # bytes, the limits of every common file system
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")  # of POSIX, of Windows, and a share of Windows


def name_fault(name: str) -> str | None:
    """Return why ``name`` cannot be that of a file below a folder, or None if it can."""
    if not name:
        return "is empty"
    if "\0" in name:
        return "has a NUL byte"
    if _ABSOLUTE.match(name) or (os.name == "nt" and ":" in name):
        return "is an absolute path"
    if ".." in name and ".." in re.split(r"[/\\]", name):
        return "leads out of the folder"
    if len(name) > _MAX_NAME // 4:  # an encoded character has four bytes at most
        encoded = os.fsencode(name) if _is_encodable(name) else None
        if encoded is None or len(encoded) > _MAX_PATH or max(map(len, encoded.split(b"/"))) > _MAX_NAME:
            return "is too long for a file name"
    elif not name.isascii() and not _is_encodable(name):
        return "has characters that no file name can have"
    return None


def require_contained(names: Sequence[str], listed_in: Path) -> None:
    """Raise DataError for the first name that is none of a file below a folder, naming the list and its line."""
    for name in names:
        fault = name_fault(name)
        if fault is not None:
            raise DataError(
                f"{listed_in}: {_line(listed_in, name)}names {_shown(name)}, which {fault}; images are named by "
                "relative paths below their folder"
            )


def require_no_links_out(folder: Path, paths: Iterable[Path]) -> None:
    """Raise DataError for the first of ``paths`` that ends outside ``folder``, which itself may be a link.

    Args:
        folder: the data set's folder of images.
        paths: files and folders below it that are links, or may be.
    """
    if os.environ.get(ALLOW_LINKS) == "1":
        return
    home = folder.resolve()
    for path in paths:
        target = path.resolve()
        if not target.is_relative_to(home):
            raise DataError(
                f"{path}: is a link that leads out of {folder}, to {target}; if you made the links of this data set "
                f"yourself, set {ALLOW_LINKS}=1"
            )


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def _line(listed_in: Path, name: str) -> str:
    """Return ``"line 12 "`` where a text file has the name, or nothing."""
    try:
        with listed_in.open(encoding="utf-8") as lines:
            return next((f"line {number} " for number, line in enumerate(lines, start=1) if name in line), "")
    except (OSError, UnicodeDecodeError):
        return ""
