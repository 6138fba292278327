import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from plml.data import image_cache
from plml.data.cache import CHUNK, cached_array, default_cache_dir
from plml.data.image_cache import cached_pixels
from plml.data.pixels import resize
from plml.errors import DataError

UINT8 = np.dtype(np.uint8)

BUILDER = """
# The package registers every data set, which imports torch and takes seconds; an array needs neither.
import types, sys, plml
sys.modules["plml.data"] = types.ModuleType("plml.data")
sys.modules["plml.data"].__path__ = [plml.__path__[0] + "/data"]
import time, numpy as np
from pathlib import Path
from plml.data.cache import cached_array

folder, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def fill(array, start, stop):
    time.sleep(pause)
    with log.open("a") as file:
        file.write(f"{start}\\n")
    array[start:stop] = np.arange(start, stop)[:, None] % 251

array = cached_array(folder, (2000, 3), np.dtype(np.uint8), fill, label="x")
assert (array == np.arange(2000)[:, None] % 251).all()
"""


def count_up(array: NDArray[Any], start: int, stop: int) -> None:
    array[start:stop] = np.arange(start, stop)[:, None] % 251


def forbidden(array: NDArray[Any], start: int, stop: int) -> None:
    raise AssertionError("the array was there already")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = []
    rng = np.random.default_rng(1)
    for i in range(7):
        path = tmp_path / "photos" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size=(20 + i, 31, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def test_pixels_are_those_of_decoding_each_time(photos: list[Path], tmp_path: Path) -> None:
    array, _ = cached_pixels(photos, 16, cache_dir=tmp_path)
    assert (array.shape, array.dtype) == ((7, 16, 16, 3), np.uint8)
    for row, path in zip(array, photos, strict=True):
        np.testing.assert_array_equal(row, resize(Image.open(path), 16))
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_second_call_decodes_nothing(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = cached_pixels(photos, 16, cache_dir=tmp_path)
    monkeypatch.setattr(image_cache, "decode", forbidden)
    assert cached_pixels(photos, 16, cache_dir=tmp_path)[1] == key


def test_key_changes_with_all_that_pixels_depend_on(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [cached_pixels(photos, 16, cache_dir=tmp_path)[1]]
    keys.append(cached_pixels(photos, 17, cache_dir=tmp_path)[1])
    keys.append(cached_pixels(photos[::-1], 16, cache_dir=tmp_path)[1])
    os.utime(photos[0], ns=(1, 1))
    keys.append(cached_pixels(photos, 16, cache_dir=tmp_path)[1])
    monkeypatch.setattr("PIL.__version__", "0.1")
    keys.append(cached_pixels(photos, 16, cache_dir=tmp_path)[1])
    monkeypatch.setattr(image_cache, "RESIZE_RULE", "another")
    keys.append(cached_pixels(photos, 16, cache_dir=tmp_path)[1])
    assert len(set(keys)) == len(keys)


def test_unreadable_image_is_named_and_mended_file_goes_on(photos: list[Path], tmp_path: Path) -> None:
    whole = photos[3].read_bytes()
    photos[3].write_bytes(whole[:200])
    with pytest.raises(DataError, match=r"photos/3\.jpg: expected a whole, readable image"):
        cached_pixels(photos, 16, cache_dir=tmp_path)
    photos[3].write_bytes(whole)
    array, _ = cached_pixels(photos, 16, cache_dir=tmp_path)
    np.testing.assert_array_equal(array[3], resize(Image.open(photos[3]), 16))


def test_absent_image_is_named(photos: list[Path], tmp_path: Path) -> None:
    photos[5].unlink()
    with pytest.raises(DataError, match=r"photos/5\.jpg: there is no such image"):
        cached_pixels(photos, 16, cache_dir=tmp_path)


def test_builder_killed_midway_is_continued(tmp_path: Path) -> None:
    folder, log = tmp_path / "array", tmp_path / "log"
    builder = subprocess.Popen([sys.executable, "-c", BUILDER, str(folder), str(log), "0.2"])
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert builder.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not (folder / "complete").exists()
    done_before = int(np.load(folder / "digests.npy").any(axis=1).sum())
    assert done_before >= 2

    filled: list[int] = []

    def fill(array: NDArray[Any], start: int, stop: int) -> None:
        filled.append(start)
        count_up(array, start, stop)

    array = cached_array(folder, (2000, 3), UINT8, fill, label="x")
    np.testing.assert_array_equal(array, np.tile(np.arange(2000)[:, None] % 251, (1, 3)))
    assert len(filled) == -(-2000 // CHUNK) - done_before
    cached_array(folder, (2000, 3), UINT8, forbidden, label="x")


def test_two_builders_share_the_work_of_one(tmp_path: Path) -> None:
    folder, log = tmp_path / "array", tmp_path / "log"
    command = [sys.executable, "-c", BUILDER, str(folder), str(log), "0.05"]
    builders = [subprocess.Popen(command) for _ in range(2)]
    assert [builder.wait(timeout=120) for builder in builders] == [0, 0]
    assert log.read_text().split() == [str(start) for start in range(0, 2000, CHUNK)]


def test_build_that_fails_keeps_its_finished_chunks(tmp_path: Path) -> None:
    def fail_late(array: NDArray[Any], start: int, stop: int) -> None:
        if start:
            raise DataError("broken")
        count_up(array, start, stop)

    with pytest.raises(DataError, match="broken"):
        cached_array(tmp_path / "a", (CHUNK + 1, 2), UINT8, fail_late, label="x")

    def only_second(array: NDArray[Any], start: int, stop: int) -> None:
        assert (start, stop) == (CHUNK, CHUNK + 1)
        count_up(array, start, stop)

    assert (cached_array(tmp_path / "a", (CHUNK + 1, 2), UINT8, only_second, label="x")[:, 0] < 251).all()


def test_progress_is_silent_where_there_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cached_array(tmp_path / "a", (400, 2), UINT8, count_up, label="x", progress=True)
    assert capfd.readouterr() == ("", "")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "array.npy"),
        lambda folder: (folder / "array.npy").unlink(),
        lambda folder: (folder / "complete").write_text("{"),
        lambda folder: (folder / "complete").write_text('{"shape": [1, 2], "dtype": "|u1"}'),
    ],
)
def test_damaged_array_is_built_anew(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    cached_array(tmp_path / "a", (400, 2), UINT8, count_up, label="x")
    damage(tmp_path / "a")
    array = cached_array(tmp_path / "a", (400, 2), UINT8, count_up, label="x")
    np.testing.assert_array_equal(array[:, 0], np.arange(400) % 251)


def test_full_disk_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(
        DataError,
        match=r"needs 0\.0 GiB of disk, 0\.0 GiB are free; make room with plml cache",
    ):
        cached_array(tmp_path / "a", (400, 2), UINT8, forbidden, label="x")


def test_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/pixels.* cannot be made .*PLML_CACHE_DIR"):
        cached_array(tmp_path / "file" / "pixels", (4, 2), UINT8, count_up, label="x")


def test_cache_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLML_CACHE_DIR", str(tmp_path / "x"))
    assert default_cache_dir() == tmp_path / "x"
    monkeypatch.delenv("PLML_CACHE_DIR")
    assert default_cache_dir().name == "plml"
