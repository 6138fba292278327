"""Listing, verifying and dropping cached arrays, with live processes that build and read them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plml.data.cache import CHUNK, cached_array
from plml.data.cache_entry import Entry, drop_entry, list_entries, verify_entry

UINT8 = np.dtype(np.uint8)
ROWS = 3 * CHUNK + 10

HOLDER = """
# The package registers every data set, which imports torch and takes seconds; an array needs neither.
import types, sys, plml
sys.modules["plml.data"] = types.ModuleType("plml.data")
sys.modules["plml.data"].__path__ = [plml.__path__[0] + "/data"]
import time, numpy as np
from pathlib import Path
from plml.data.cache import cached_array

def fill(array, start, stop):
    print("building", flush=True)
    if sys.argv[2] == "build":
        time.sleep(600)
    array[start:stop] = 1

array = cached_array(Path(sys.argv[1]), (4, 2), np.dtype(np.uint8), fill, label="x")
print("reading", flush=True)
time.sleep(600)
"""


def count_up(array: NDArray[Any], start: int, stop: int) -> None:
    array[start:stop] = np.arange(start, stop)[:, None] % 251


def build(cache: Path, key: str = "k") -> Path:
    cached_array(cache / "pixels" / key, (ROWS, 5), UINT8, count_up, label="x", about={"data": "mine"})
    return cache / "pixels" / key


def only(cache: Path) -> Entry:
    (entry,) = list_entries(cache)
    return entry


def flip_byte(folder: Path, row: int) -> None:
    content = bytearray((folder / "array.npy").read_bytes())
    content[len(content) - (ROWS - row) * 5 + 2] ^= 64
    (folder / "array.npy").write_bytes(content)


@contextmanager
def process(folder: Path, doing: str) -> Iterator[None]:
    """A live process that builds, or has built and reads, the array in ``folder``."""
    command = [sys.executable, "-c", HOLDER, str(folder), doing]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        lines = ["building\n"] if doing == "build" else ["building\n", "reading\n"]
        assert [holder.stdout.readline() for _ in lines] == lines
        try:
            yield
        finally:
            holder.kill()


def test_an_entry_says_what_it_is(tmp_path: Path) -> None:
    assert list_entries(tmp_path) == []
    build(tmp_path)
    entry = only(tmp_path)
    assert (entry.kind, entry.key, entry.complete, entry.used_by) == ("pixels", "k", True, None)
    assert entry.about["data"] == "mine"
    assert entry.num_bytes >= ROWS * 5
    assert entry.built is not None
    assert entry.seconds is not None
    assert entry.seconds >= 0


def test_the_least_recently_used_comes_first(tmp_path: Path) -> None:
    import os

    for number, key in enumerate("abc"):
        build(tmp_path, key)
        os.utime(tmp_path / "pixels" / f"{key}.used", (number, number))
    assert [entry.key for entry in list_entries(tmp_path)] == ["a", "b", "c"]
    build(tmp_path, "a")  # a use, nothing is built
    assert [entry.key for entry in list_entries(tmp_path)] == ["b", "c", "a"]


def test_whole_array_verifies(tmp_path: Path) -> None:
    folder = build(tmp_path)
    assert verify_entry(only(tmp_path)) == []
    assert (folder / "complete").exists()


def test_flipped_byte_is_found_and_its_chunk_alone_is_built_anew(tmp_path: Path) -> None:
    folder = build(tmp_path)
    flip_byte(folder, CHUNK + 7)
    assert verify_entry(only(tmp_path)) == [(CHUNK, 2 * CHUNK)]
    assert not only(tmp_path).complete
    filled: list[tuple[int, int]] = []

    def fill(array: NDArray[Any], start: int, stop: int) -> None:
        filled.append((start, stop))
        count_up(array, start, stop)

    array = cached_array(folder, (ROWS, 5), UINT8, fill, label="x")
    assert filled == [(CHUNK, 2 * CHUNK)]
    np.testing.assert_array_equal(array, np.repeat(np.arange(ROWS)[:, None] % 251, 5, axis=1))
    assert verify_entry(only(tmp_path)) == []


def test_what_a_cut_build_left_damaged_is_not_trusted(tmp_path: Path) -> None:
    """A machine that lost its power may keep a digest and lose the rows."""
    folder = build(tmp_path)
    (folder / "complete").unlink()
    flip_byte(folder, 3)
    array = cached_array(folder, (ROWS, 5), UINT8, count_up, label="x")
    np.testing.assert_array_equal(array[:, 2], np.arange(ROWS) % 251)


@pytest.mark.parametrize("name", ["array.npy", "digests.npy", "bounds.npy"])
def test_array_without_one_of_its_files_is_damaged_whole(tmp_path: Path, name: str) -> None:
    folder = build(tmp_path)
    (folder / name).unlink()
    assert verify_entry(only(tmp_path)) == [(0, ROWS)]
    array = cached_array(folder, (ROWS, 5), UINT8, count_up, label="x")
    np.testing.assert_array_equal(array[:, 0], np.arange(ROWS) % 251)
    assert verify_entry(only(tmp_path)) == []


def test_digests_of_another_build_are_noticed_at_once(tmp_path: Path) -> None:
    folder = build(tmp_path)
    digests = np.load(folder / "digests.npy")
    digests[0, 0] ^= 1
    np.save(folder / "digests.npy", digests)
    filled: list[int] = []

    def fill(array: NDArray[Any], start: int, stop: int) -> None:
        filled.append(start)
        count_up(array, start, stop)

    cached_array(folder, (ROWS, 5), UINT8, fill, label="x")
    assert filled == [0]


def test_chunks_of_different_sizes(tmp_path: Path) -> None:
    bounds = np.array([0, 3, 10, 11], dtype=np.int64)
    filled: list[tuple[int, int]] = []

    def fill(array: NDArray[Any], start: int, stop: int) -> None:
        filled.append((start, stop))
        array[start:stop] = start

    array = cached_array(tmp_path / "pixels" / "k", (11,), UINT8, fill, label="x", bounds=bounds)
    assert filled == [(0, 3), (3, 10), (10, 11)]
    assert array.tolist() == [0] * 3 + [3] * 7 + [10]
    assert verify_entry(only(tmp_path)) == []


def test_array_that_this_process_reads_is_not_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "pixels" / "k"
    array = cached_array(folder, (ROWS, 5), UINT8, count_up, label="x")
    part = array[5:9]  # a view holds the array
    del array
    assert only(tmp_path).used_by == "read"
    assert not drop_entry(only(tmp_path))
    assert part[0, 0] == 5
    del part
    assert only(tmp_path).used_by is None
    assert drop_entry(only(tmp_path))
    assert list_entries(tmp_path) == []
    assert not folder.exists()


@pytest.mark.parametrize("doing", ["build", "read"])
def test_array_of_another_process_is_not_dropped(tmp_path: Path, doing: str) -> None:
    folder = tmp_path / "pixels" / "k"
    with process(folder, doing):
        entry = only(tmp_path)
        assert entry.used_by == doing
        assert entry.complete == (doing == "read")
        assert not drop_entry(entry)
        assert folder.exists()
        assert verify_entry(entry) == []
    assert drop_entry(only(tmp_path))
    assert not folder.exists()


def test_dropped_array_is_built_again(tmp_path: Path) -> None:
    folder = build(tmp_path)
    assert drop_entry(only(tmp_path))
    array = cached_array(folder, (ROWS, 5), UINT8, count_up, label="x")
    assert array[CHUNK, 0] == CHUNK % 251
