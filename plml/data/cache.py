"""Arrays on disk that are computed once and memory-mapped by everybody: decoded images, extracted features.

An array lives in a folder named after everything it depends on. Building it is resumable chunk by chunk, safe
against other builders on the machine, and ends with a marker that is renamed into place; without the marker
nobody reads the array.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from plml.data.pixels import RESIZE_RULE, decode
from plml.errors import DataError

CHUNK = 256  # examples between two points from which a killed build goes on
_SPARE = 64 * 2**20  # bytes of the disk that a build leaves free

Fill = Callable[[NDArray[Any], int, int], None]  # writes rows start..stop-1 of the array it is given


def default_cache_dir() -> Path:
    """Return the folder from PLML_CACHE_DIR, or the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("PLML_CACHE_DIR")
    return Path(named).expanduser().resolve() if named else user_cache_path("plml")


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


def cached_pixels(
    paths: list[Path], size: int, *, cache_dir: Path, progress: bool = False
) -> tuple[NDArray[np.uint8], str]:
    """Return the images as a memory-mapped uint8 (N, size, size, 3) array, decoding those not decoded before.

    Args:
        paths: N image files.
        size: side in pixels.
        cache_dir: where arrays are kept.
        progress: show a progress bar if the terminal can.

    Returns:
        The read-only array and the key that names it.

    Raises:
        DataError: a file is absent or unreadable (it is named), or the disk is too small.
    """
    import PIL

    key = cache_key({"files": files_digest(paths), "size": size, "rule": RESIZE_RULE, "pillow": PIL.__version__})

    with ThreadPoolExecutor(max_workers=available_cpus()) as pool:

        def fill(array: NDArray[Any], start: int, stop: int) -> None:
            # Decoding and resizing release the interpreter lock, so threads are as fast as processes here.
            for row, image in zip(
                range(start, stop), pool.map(lambda path: decode(path, size), paths[start:stop]), strict=True
            ):
                array[row] = image

        shape = (len(paths), size, size, 3)
        array = cached_array(
            cache_dir / "pixels" / key, shape, np.dtype(np.uint8), fill, label="Decoding images", progress=progress
        )
    return array, key


def cached_array(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Fill, *, label: str, progress: bool = False
) -> NDArray[Any]:
    """Return the array kept in ``folder`` as a read-only memory map, computing what is missing of it.

    Args:
        folder: its name must change whenever the content would.
        shape: of the array; the first axis is filled in chunks.
        dtype: of the array.
        fill: computes one chunk; may raise DataError.
        label: what a progress bar says.
        progress: show one if the terminal can.
    """
    if not _complete(folder, shape, dtype):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be made ({error.strerror}); set PLML_CACHE_DIR to a folder") from None
        with FileLock(folder / "lock"):  # the system releases it when its holder dies
            if not _complete(folder, shape, dtype):
                _build(folder, shape, dtype, fill, label, progress)
    array: NDArray[Any] = np.load(folder / "array.npy", mmap_mode="r", allow_pickle=False)
    return array


def _build(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Fill, label: str, progress: bool) -> None:
    array, done = _open(folder, shape, dtype)
    missing = [chunk for chunk in range(len(done)) if not done[chunk]]
    _check_space(folder, len(missing) * CHUNK * math.prod(shape[1:]) * dtype.itemsize)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task(label, total=shape[0], completed=shape[0] - _rows(missing, shape[0]))
        for chunk in missing:
            start, stop = chunk * CHUNK, min((chunk + 1) * CHUNK, shape[0])
            fill(array, start, stop)
            array.flush()  # the rows are on disk before the chunk counts as done
            done[chunk] = 1
            done.flush()
            bar.advance(task, stop - start)
    marker = folder / "complete.tmp"
    marker.write_text(json.dumps({"shape": shape, "dtype": dtype.str}), encoding="utf-8")
    marker.replace(folder / "complete")


def _open(
    folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """Open array and chunk list of a build that was cut short, or start both anew."""
    from numpy.lib.format import open_memmap

    chunks = (math.ceil(shape[0] / CHUNK),)
    try:
        array, done = (open_memmap(folder / name, mode="r+") for name in ("array.npy", "done.npy"))
        if (array.shape, array.dtype, done.shape) == (shape, dtype, chunks):
            return array, done
    except (OSError, ValueError):
        pass  # there is no earlier build, or it was cut short inside a file's head
    (folder / "complete").unlink(missing_ok=True)
    (folder / "done.npy").unlink(missing_ok=True)
    array = open_memmap(folder / "array.npy", mode="w+", dtype=dtype, shape=shape)
    return array, open_memmap(folder / "done.npy", mode="w+", dtype=np.uint8, shape=chunks)


def _complete(folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the marker is there and the array is as long as it should be."""
    try:
        marker = json.loads((folder / "complete").read_text(encoding="utf-8"))
        size = (folder / "array.npy").stat().st_size
    except (OSError, ValueError):
        return False
    return marker == {"shape": list(shape), "dtype": dtype.str} and size >= math.prod(shape) * dtype.itemsize


def _rows(chunks: list[int], num_rows: int) -> int:
    return sum(min(CHUNK, num_rows - chunk * CHUNK) for chunk in chunks)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE > free:
        raise DataError(
            f"{folder}: needs {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free; "
            "set PLML_CACHE_DIR to a larger disk, or choose a smaller data.image_size"
        )
