"""A byte that is lost or changed anywhere in a checkpoint or array is noticed, and other programs still read both."""

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plml.checkpoint import load_array, load_checkpoint, save_checkpoint, write_array
from plml.errors import DamagedError
from plml.seal import LENGTH, NAME

CONTENT = {"weights": torch.arange(40.0), "note": "x", "list": [1, {"b": None}]}
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_checkpoint(file: Path) -> None:
    save_checkpoint(file, CONTENT)


def write_scores(file: Path) -> None:
    write_array(file, np.arange(60, dtype=np.float32).reshape(6, 10))


Files = tuple[Callable[[Path], None], Callable[[Path], Any]]
FILES: dict[str, Files] = {
    "checkpoint": (write_checkpoint, load_checkpoint),
    "array": (write_scores, load_array),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_bit_counts(tmp_path: Path, kind: str) -> None:
    """Every byte of the file, one flipped bit in each."""
    write, load = FILES[kind]
    file = tmp_path / "file"
    write(file)
    whole = file.read_bytes()
    step = 1 if kind == "array" else 11
    for place in [*range(0, len(whole), step), *range(len(whole) - LENGTH - 30, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(DamagedError, match=r"file is damaged"):
            load(file)


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
@QUICK
def test_what_is_cut_off_is_missed(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    write, load = FILES[kind]
    file = tmp_path / "file"
    write(file)
    whole = file.read_bytes()
    kept = data.draw(st.integers(0, len(whole) - 1).filter(lambda count: count != len(whole) - LENGTH))
    file.write_bytes(whole[:kept])
    with pytest.raises(DamagedError, match=r"file is damaged"):
        load(file)


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
@QUICK
def test_a_changed_stretch_is_noticed(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    write, load = FILES[kind]
    file = tmp_path / "file"
    write(file)
    whole = file.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(min_size=1, max_size=200).filter(lambda b: whole[start : start + len(b)] != b))
    file.write_bytes(whole[:start] + other + whole[start + len(other) :])
    with pytest.raises(DamagedError, match=r"file is damaged"):
        load(file)


def test_bytes_that_were_added_are_noticed(tmp_path: Path) -> None:
    for name, (write, load) in FILES.items():
        file = tmp_path / name
        write(file)
        with file.open("ab") as more:
            more.write(bytes(8))
        with pytest.raises(DamagedError):
            load(file)


def test_plain_torch_and_numpy_read_sealed_files(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt")
    write_scores(tmp_path / "a.npy")
    assert NAME in (tmp_path / "a.pt").read_bytes()[-LENGTH:]
    for mapped in (False, True):
        content = torch.load(tmp_path / "a.pt", weights_only=True, mmap=mapped)
        assert torch.equal(content["weights"], CONTENT["weights"])
    expected = np.arange(60, dtype=np.float32).reshape(6, 10)
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), expected)
    assert np.array_equal(load_array(tmp_path / "a.npy"), expected)


def test_files_of_earlier_versions_have_no_seal(tmp_path: Path) -> None:
    torch.save({"format": 1, **CONTENT}, tmp_path / "a.pt")
    np.save(tmp_path / "a.npy", np.arange(5))
    assert torch.equal(load_checkpoint(tmp_path / "a.pt")["weights"], CONTENT["weights"])
    assert np.array_equal(load_array(tmp_path / "a.npy"), np.arange(5))
    whole = (tmp_path / "a.npy").read_bytes()
    for place in range(len(whole) - 40):  # in the header; what torch or numpy do not notice there is no array of ours
        flipped = bytearray(whole)
        flipped[place] ^= 4
        (tmp_path / "a.npy").write_bytes(flipped)
        with suppress(DamagedError):
            load_array(tmp_path / "a.npy")
    cut = whole[:-1]
    (tmp_path / "a.npy").write_bytes(cut)
    with pytest.raises(DamagedError):
        load_array(tmp_path / "a.npy")


def test_a_seal_that_lost_its_length_is_no_missing_seal(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt")
    whole = bytearray((tmp_path / "a.pt").read_bytes())
    whole[-LENGTH - 2 : -LENGTH] = struct.pack("<H", 0)
    (tmp_path / "a.pt").write_bytes(whole)
    with pytest.raises(DamagedError, match="missing or garbled"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"val_0001\.npy is missing"):
        load_array(tmp_path / "val_0001.npy")
