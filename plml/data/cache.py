"""Arrays on disk that are computed once and memory-mapped by everybody: decoded images, extracted features.

An array lives in a folder named after everything it depends on. Building it is resumable chunk by chunk, safe
against other builders on the machine, and ends with a marker that is renamed into place; without the marker
nobody reads the array. Every chunk has a SHA-256: what a killed build or a failing disk left behind is found by it
and computed again. :mod:`plml.data.cache_entry` knows the files of a folder, lists, verifies and drops them.
"""

import json
import math
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from plml.data.cache_entry import (
    build_lock,
    chunk_digest,
    damaged_chunks,
    is_complete,
    mark_used,
    now,
    write_json,
    write_marker,
)
from plml.data.plain_arrays import load_npy, map_npy
from plml.errors import DataError
from plml.heartbeat import EVERY_S, beat
from plml.user_path import user_path

CHUNK = 256  # examples between two points from which a killed build goes on
_SPARE = 64 * 2**20  # bytes of the disk that a build leaves free

Fill = Callable[[NDArray[Any], int, int], None]  # writes rows start..stop-1 of the array it is given


def default_cache_dir() -> Path:
    """Return the folder from PLML_CACHE_DIR, or the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("PLML_CACHE_DIR")
    return user_path(named).resolve() if named else user_cache_path("plml")


def available_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def cache_key(facts: Mapping[str, Any]) -> str:
    """Return 24 hexadecimal digits that name ``facts`` (plain JSON data)."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def files_digest(paths: list[Path]) -> str:
    """Return the SHA-256 over the files' names, sizes and modification times; raise DataError for an absent one."""
    sha = sha256()
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path}: there is no such image file ({error.strerror})") from None
        sha.update(f"{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def cached_array(
    folder: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    fill: Fill,
    *,
    label: str,
    bounds: NDArray[np.int64] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> NDArray[Any]:
    """Return the array kept in ``folder`` as a read-only memory map, computing what is missing of it.

    While the array is referenced, the process holds it in use, and nobody drops it.

    Args:
        folder: its name must change whenever the content would.
        shape: of the array; the first axis is filled in chunks.
        dtype: of the array.
        fill: computes one chunk; may raise DataError.
        label: what a progress bar says.
        bounds: (chunks + 1,) rows at which chunks begin, and the end; default: every ``CHUNK`` rows.
        about: what the array is, for people: plain JSON data.
        progress: show a progress bar if the terminal can.

    Raises:
        DataError: the folder cannot be made, or the disk is too small; and what ``fill`` raises.
    """
    if bounds is None:
        bounds = np.append(np.arange(0, shape[0], CHUNK, dtype=np.int64), shape[0])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set PLML_CACHE_DIR to a folder") from None
    held = mark_used(folder)
    if not is_complete(folder, shape, dtype):
        with _turn_to_build(folder):
            if not is_complete(folder, shape, dtype):
                _build(folder, shape, dtype, fill, bounds, label, about or {}, progress)
    array: NDArray[Any] = map_npy(folder / "array.npy")
    if held is not None:
        weakref.finalize(array, os.close, held)
    return array


@contextmanager
def _turn_to_build(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which the system releases when its holder dies; who waits for it is alive."""
    lock = build_lock(folder)
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire(timeout=EVERY_S)
        beat()
    try:
        yield
    finally:
        lock.release()


def _build(
    folder: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    fill: Fill,
    bounds: NDArray[np.int64],
    label: str,
    about: Mapping[str, Any],
    progress: bool,
) -> None:
    began = time.monotonic()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made ({error.strerror}); set PLML_CACHE_DIR to a folder") from None
    array, digests = _open(folder, shape, dtype, bounds)
    digests[damaged_chunks(array, bounds, digests)] = 0  # a chunk that was cut short with the machine, for example
    missing = [int(chunk) for chunk in np.flatnonzero(~digests.any(axis=1))]
    rows = np.diff(bounds)
    _check_space(folder, int(rows[missing].sum()) * math.prod(shape[1:]) * dtype.itemsize)
    write_json(folder / "about.json", {**about, "begun": now()})

    def seal(chunk: int) -> None:
        digests[chunk] = chunk_digest(array, bounds, chunk)

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not (progress and console.is_terminal)
    with (
        Progress(*columns, console=console, transient=True, disable=hidden) as bar,
        ThreadPoolExecutor(max_workers=1) as sealer,  # digests of one chunk while the next one is filled
    ):
        task = bar.add_task(label, total=shape[0], completed=shape[0] - int(rows[missing].sum()))
        sealed: Future[None] | None = None
        for chunk in missing:
            fill(array, int(bounds[chunk]), int(bounds[chunk + 1]))
            if sealed is not None:
                sealed.result()
            sealed = sealer.submit(seal, chunk)
            bar.advance(task, int(rows[chunk]))
        if sealed is not None:
            sealed.result()
    array.flush()  # everything is on the disk before the marker says so
    digests.flush()
    write_marker(folder, shape, dtype, seconds=time.monotonic() - began)


def _open(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], bounds: NDArray[np.int64]
) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """Open array and chunk digests of a build that was cut short, or start both anew; all zeros: not computed."""
    from numpy.lib.format import open_memmap

    (folder / "complete").unlink(missing_ok=True)
    chunks = len(bounds) - 1
    try:
        array, digests = (map_npy(folder / name, writable=True) for name in ("array.npy", "digests.npy"))
        same_bounds = np.array_equal(load_npy(folder / "bounds.npy"), bounds)
        if same_bounds and (array.shape, array.dtype, digests.shape) == (shape, dtype, (chunks, 32)):
            return array, digests
    except (OSError, ValueError):
        pass  # there is no earlier build, or it was cut short inside a file's head
    (folder / "digests.npy").unlink(missing_ok=True)
    array = open_memmap(folder / "array.npy", mode="w+", dtype=dtype, shape=shape)
    np.save(folder / "bounds.npy", bounds)
    return array, open_memmap(folder / "digests.npy", mode="w+", dtype=np.uint8, shape=(chunks, 32))


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise DataError(
            f"{folder}: needs {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free; make room with "
            "plml cache drop, set PLML_CACHE_DIR to a larger disk, or choose a smaller data.image_size"
        )
