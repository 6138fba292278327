"""Images decoded once: squares that a split is read from, and packed images at source scale that crops are cut from."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plml.data.cache import CHUNK, available_cpus, cache_key, cached_array, files_digest
from plml.data.pixels import RESIZE_RULE, SOURCE_RULE, decode, decode_source, read_size, source_size
from plml.data.source_images import SourceImages
from plml.heartbeat import beat


def cached_pixels(
    paths: list[Path],
    size: int,
    *,
    cache_dir: Path,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> tuple[NDArray[np.uint8], str]:
    """Return the images as a memory-mapped uint8 (N, size, size, 3) array, decoding those not decoded before.

    Args:
        paths: N image files.
        size: side in pixels.
        cache_dir: where arrays are kept.
        about: what the images are, for ``plml cache list``.
        progress: show a progress bar if the terminal can.

    Returns:
        The read-only array and the key that names it.

    Raises:
        DataError: a file is absent or unreadable (it is named), or the disk is too small.
    """
    facts = _facts(paths, size, RESIZE_RULE)
    key = cache_key(facts)
    with ThreadPoolExecutor(max_workers=available_cpus()) as pool:

        def write(array: NDArray[Any], row: int) -> None:
            array[row] = decode(paths[row], size)

        def fill(array: NDArray[Any], start: int, stop: int) -> None:
            _in_parallel(pool, lambda row: write(array, row), range(start, stop))

        array = cached_array(
            cache_dir / "pixels" / key,
            (len(paths), size, size, 3),
            np.dtype(np.uint8),
            fill,
            label="Decoding images",
            about=_about(paths, facts, about),
            progress=progress,
        )
    return array, key


def cached_sources(
    paths: list[Path],
    size: int,
    *,
    cache_dir: Path,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> SourceImages:
    """Return the images at source scale, packed one after the other, decoding those not decoded before.

    Args:
        paths: N image files.
        size: side in pixels of what will be cut from them; see :func:`plml.data.pixels.source_size`.
        cache_dir: where arrays are kept.
        about: what the images are, for ``plml cache list``.
        progress: show a progress bar if the terminal can.

    Raises:
        DataError: a file is absent or unreadable (it is named), or the disk is too small.
    """
    facts = _facts(paths, size, SOURCE_RULE)
    key = cache_key(facts)
    described = _about(paths, facts, about)
    with ThreadPoolExecutor(max_workers=available_cpus()) as pool:

        def measure(array: NDArray[Any], row: int) -> None:
            array[row] = source_size(*read_size(paths[row]), size)

        def fill_sizes(array: NDArray[Any], start: int, stop: int) -> None:
            _in_parallel(pool, lambda row: measure(array, row), range(start, stop))

        sizes = cached_array(
            cache_dir / "sizes" / key,
            (len(paths), 2),
            np.dtype(np.int32),
            fill_sizes,
            label="Measuring images",
            about=described,
            progress=progress,
        )
        offsets = np.concatenate([[0], np.cumsum(sizes.astype(np.int64).prod(axis=1) * 3)])

        def write(array: NDArray[Any], row: int) -> None:
            width, height = (int(side) for side in sizes[row])
            array[offsets[row] : offsets[row + 1]] = decode_source(paths[row], width, height).reshape(-1)

        def fill(array: NDArray[Any], start: int, stop: int) -> None:
            first, last = np.searchsorted(offsets, (start, stop))
            _in_parallel(pool, lambda row: write(array, row), range(int(first), int(last)))

        pixels = cached_array(
            cache_dir / "sources" / key,
            (int(offsets[-1]),),
            np.dtype(np.uint8),
            fill,
            label="Decoding images at source scale",
            bounds=np.append(offsets[:-1:CHUNK], offsets[-1]),
            about=described,
            progress=progress,
        )
    return SourceImages(pixels, offsets, np.array(sizes, dtype=np.int64))


def _in_parallel(pool: ThreadPoolExecutor, work: Callable[[int], None], rows: Sequence[int]) -> None:
    """Run ``work`` on every row, on all processors; the first error ends it.

    Pillow decodes and resizes without the interpreter lock, so that threads keep all processors busy; a process would
    have to be started, and imports torch.
    """
    futures = [pool.submit(work, row) for row in rows]
    try:
        for future in futures:
            future.result()
            beat()
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _facts(paths: list[Path], size: int, rule: str) -> dict[str, Any]:
    """Return everything that decoded pixels depend on."""
    import PIL

    return {"files": files_digest(paths), "size": size, "rule": rule, "pillow": PIL.__version__}


def _about(paths: list[Path], facts: Mapping[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        **(more or {}),
        "images": len(paths),
        "image_size": facts["size"],
        "rule": facts["rule"],
        "decoder": f"pillow {facts['pillow']}",
        "first": str(paths[0]) if paths else "",
    }
