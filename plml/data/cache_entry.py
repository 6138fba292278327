"""The files of one cached array: its locks, its marker, its digests, and dropping it.

    KIND/KEY/array.npy     the numbers
    KIND/KEY/bounds.npy    rows at which chunks begin, and the end
    KIND/KEY/digests.npy   (chunks, 32) SHA-256 of each chunk; zeros: not computed yet
    KIND/KEY/about.json    what it is, for people
    KIND/KEY/complete      marker, written last: shape, type, size, digest of the digests
    KIND/KEY.lock          held by the process that builds or drops
    KIND/KEY.used          its time is that of the last use; share-locked by every process that reads the array

The locks lie beside the folder, so that they outlive it.
"""

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from plml.data.plain_arrays import map_npy, read_head

if sys.platform != "win32":
    import fcntl

KINDS = ("pixels", "sources", "sizes", "features")


@dataclass(frozen=True)
class Entry:
    """A cached array as it lies on the disk.

    Attributes:
        folder: its place; the name is its key.
        kind: pixels (squares), sources (packed images at source scale), sizes of sources, or features.
        about: what it is, from whoever built it; empty when nobody wrote it down.
        complete: whether its marker is there.
        num_bytes: what it takes on the disk.
        built: when it was finished, ISO 8601 in UTC, or None.
        seconds: what building took since the last interruption, or None.
        last_used: seconds since the epoch.
        used_by: "build" or "read" if a live process has it, else None.
    """

    folder: Path
    kind: str
    about: dict[str, Any]
    complete: bool
    num_bytes: int
    built: str | None
    seconds: float | None
    last_used: float
    used_by: str | None

    @property
    def key(self) -> str:
        """What names the content."""
        return self.folder.name


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` so that a reader sees all of it or nothing."""
    fresh = path.with_name(f"{path.name}.tmp")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


def build_lock(folder: Path) -> FileLock:
    """Return the lock of whoever builds or drops the array of ``folder``."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def mark_used(folder: Path) -> int | None:
    """Note a use now, and hold the array in use until the file that is returned is closed; None if that cannot be."""
    try:
        held = os.open(_used(folder), os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError:
        return None  # somebody else's cache, read-only to us: its owner decides when it goes
    with contextlib.suppress(OSError):
        os.utime(held)
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_SH)
    return held


def write_marker(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, seconds: float) -> None:
    """Declare the array of ``folder`` complete."""
    content = {
        **_expected(folder, shape, dtype),
        "size": (folder / "array.npy").stat().st_size,
        "built": now(),
        "seconds": round(seconds, 3),
    }
    write_json(folder / "complete", content)


def is_complete(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the marker is there, belongs to the digests, and the array has its length: what can be told at once."""
    try:
        marker = json.loads((folder / "complete").read_text(encoding="utf-8"))
        with (folder / "array.npy").open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = read_head(file)
        return (size, head) == (marker["size"], (shape, False, dtype)) and {
            k: marker[k] for k in ("shape", "dtype", "digests")
        } == _expected(folder, shape, dtype)
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return False


def chunk_digest(array: NDArray[Any], bounds: NDArray[np.int64], chunk: int) -> NDArray[np.uint8]:
    """Return the SHA-256 (32,) of one chunk's bytes."""
    rows = np.ascontiguousarray(array[bounds[chunk] : bounds[chunk + 1]])
    return np.frombuffer(sha256(rows.reshape(-1).view(np.uint8).data).digest(), dtype=np.uint8)


def damaged_chunks(array: NDArray[Any], bounds: NDArray[np.int64], digests: NDArray[np.uint8]) -> list[int]:
    """Return the computed chunks whose bytes are not those that were written."""
    computed = [int(chunk) for chunk in np.flatnonzero(digests.any(axis=1))]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda chunk: chunk_digest(array, bounds, chunk), computed)
        return [chunk for chunk, got in zip(computed, found, strict=True) if not np.array_equal(got, digests[chunk])]


def list_entries(cache_dir: Path) -> list[Entry]:
    """Return every array below ``cache_dir``, the least recently used first."""
    folders = [folder for kind in KINDS for folder in (cache_dir / kind).glob("*") if folder.is_dir()]
    return sorted(map(read_entry, folders), key=lambda entry: (entry.last_used, entry.kind, entry.key))


def read_entry(folder: Path) -> Entry:
    """Describe the array in ``folder``."""
    marker = _read_json(folder / "complete")
    stats = [path.stat() for path in folder.iterdir()]
    used = _used(folder)
    return Entry(
        folder=folder,
        kind=folder.parent.name,
        about=_read_json(folder / "about.json"),
        complete=bool(marker),
        # Blocks that are there: an array that is being built is mostly a hole. Windows does not count them.
        num_bytes=sum(getattr(stat, "st_blocks", math.ceil(stat.st_size / 512)) * 512 for stat in stats),
        built=marker.get("built"),
        seconds=marker.get("seconds"),
        last_used=used.stat().st_mtime if used.exists() else max((stat.st_mtime for stat in stats), default=0.0),
        used_by=_used_by(folder),
    )


def verify_entry(entry: Entry) -> list[tuple[int, int]]:
    """Compare every byte with the digests; return damaged rows (start, stop), which the next use computes again.

    The array of a live build is not looked at. Files that are missing or cut short damage the whole array.
    """
    with _free(entry.folder) as free:
        if not free or not entry.complete:
            return []
        try:
            array, bounds, digests = (
                map_npy(entry.folder / f"{name}.npy", writable=True) for name in ("array", "bounds", "digests")
            )
            if not (is_complete(entry.folder, array.shape, array.dtype) and _fit(array, bounds, digests)):
                raise ValueError
            damaged = damaged_chunks(array, bounds, digests)
            missing = [int(chunk) for chunk in np.flatnonzero(~digests.any(axis=1))]
        except (OSError, ValueError):
            length = _length(entry.folder)
            (entry.folder / "digests.npy").unlink(missing_ok=True)
            (entry.folder / "complete").unlink(missing_ok=True)
            return [(0, length)]
        if damaged or missing:
            (entry.folder / "complete").unlink()
            digests[damaged] = 0
            digests.flush()
        return [(int(bounds[chunk]), int(bounds[chunk + 1])) for chunk in sorted({*damaged, *missing})]


def _fit(array: NDArray[Any], bounds: NDArray[Any], digests: NDArray[Any]) -> bool:
    """Whether the bounds cut the array into as many chunks as have digests."""
    whole = bounds.dtype == np.int64 and bounds.ndim == 1 and len(bounds) > 0 and array.ndim > 0
    return bool(
        whole
        and (int(bounds[0]), int(bounds[-1])) == (0, len(array))
        and (np.diff(bounds) >= 0).all()
        and (digests.shape, digests.dtype) == ((len(bounds) - 1, 32), np.uint8)
    )


def drop_entry(entry: Entry) -> bool:
    """Delete the array unless a live process builds or reads it; return whether it is gone."""
    with _free(entry.folder) as free, _unread(entry.folder) as unread:
        if not (free and unread):
            return False
        shutil.rmtree(entry.folder, ignore_errors=True)
        _used(entry.folder).unlink(missing_ok=True)
    return not entry.folder.exists()


def _used(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.used")


def _expected(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    digests = sha256((folder / "digests.npy").read_bytes()).hexdigest()
    return {"shape": list(shape), "dtype": dtype.str, "digests": digests}


def _length(folder: Path) -> int:
    shape = _read_json(folder / "complete").get("shape") or [0]
    return int(shape[0])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _used_by(folder: Path) -> str | None:
    with _free(folder) as free, _unread(folder) as unread:
        return "build" if not free else None if unread else "read"


@contextlib.contextmanager
def _free(folder: Path) -> Iterator[bool]:
    """Hold the build lock if nobody has it; tells whether that is so."""
    lock = build_lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def _unread(folder: Path) -> Iterator[bool]:
    """Hold the array alone if nobody reads it; tells whether that is so."""
    path = _used(folder)
    if sys.platform == "win32" or not path.exists():
        yield True
        return
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(held)
