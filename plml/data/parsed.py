"""What was read out of a large text file, kept so that the next process need not parse it again.

COCO's instances are half a gigabyte of JSON, OpenImages' annotations a gigabyte of CSV; every trial of a study reads
them. Their content is kept as plain arrays under the cache folder, named after the file's path, size and time.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from plml.checkpoint import write_arrays
from plml.data.cache import cache_key, default_cache_dir, files_digest
from plml.data.plain_arrays import load_npz

WORTH_KEEPING = 8 * 2**20  # bytes of text; smaller files are parsed as fast as they are looked up

Arrays = Mapping[str, NDArray[Any]]


def parsed(path: Path, recipe: str, parse: Callable[[], Arrays]) -> Arrays:
    """Return ``parse()``, or what it returned for the same file and recipe before.

    Args:
        path: an existing file.
        recipe: what else the arrays depend on, the version of the parser included.
        parse: reads the file; may raise DataError, and then nothing is kept.
    """
    if path.stat().st_size < WORTH_KEEPING:
        return parse()
    stored = default_cache_dir() / "parsed" / f"{cache_key({'file': files_digest([path]), 'recipe': recipe})}.npz"
    try:
        return load_npz(stored)
    except (OSError, ValueError):
        arrays = parse()  # never read before, or cut short on the disk
    with suppress(OSError):  # a full or read-only disk costs the next process its time, and this one nothing
        write_arrays(stored, **arrays)
    return arrays
