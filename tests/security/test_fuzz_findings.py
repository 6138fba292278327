"""What fuzzing found, one test each: a damaged file that once ended in an error of Python's and now in one of ours."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz_targets import TARGETS, Target

from plml.data.plain_arrays import load_npy, load_npz
from plml.models.weights import read_weights


def build(name: str, folder: Path) -> Target:
    target = TARGETS[name](folder)
    assert target.execute(target.seeds[0])
    return target


@pytest.mark.parametrize("name", ["config", "study", "grid"])
def test_a_configuration_that_is_no_text(name: str, tmp_path: Path) -> None:
    target = build(name, tmp_path)
    assert not target.execute(target.seeds[0][:40] + b"\x80")


def test_an_empty_list_of_concepts(tmp_path: Path) -> None:
    assert not build("nus_official", tmp_path).execute(b"\n\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"bbox": [1, 1, 2.5, 3]', b'"bbox": [1, 1, 2.5]'),
        (b'"bbox": [1, 1, 2.5, 3]', b'"bbox": {"x": 1}'),
        (b'"width": 6', b'"width": [6]'),
        (b'"image_id": 0', b'"image_id": [0]'),
        (b'"id": 3', b'"id": "three"'),
        (b'"id": 3', b'"id": 1e400'),
        (b'{"images"', b"[" * 100_000 + b'{"images"'),
    ],
)
def test_entries_of_a_json_that_are_something_else(old: bytes, new: bytes, tmp_path: Path) -> None:
    target = build("coco_json", tmp_path)
    assert old in target.seeds[0]
    assert not target.execute(target.seeds[0].replace(old, new, 1))


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'{"pid": 1}', b'{"pid": "1", "born": 0.0, "host": "a", "since": ""}']
)
def test_a_driver_that_signed_something_else(content: bytes, tmp_path: Path) -> None:
    target = build("driver.json", tmp_path)
    target.file.write_bytes(content)
    assert target.read() is None


@pytest.mark.parametrize("name", ["cache:array.npy", "cache:bounds.npy", "cache:digests.npy"])
def test_the_head_of_a_cached_array(name: str, tmp_path: Path) -> None:
    """NumPy reads it with Python's tokenizer, whose errors it lets through; the array is made again."""
    target = build(name, tmp_path)
    head = target.seeds[0].replace(b"'shape'", b"'sha(e'").replace(b"}", b"(")
    assert target.execute(head)
    assert np.load(target.file.with_name("array.npy")).sum() == 2 * sum(range(7))


def text_array(*codes: int) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array(["abc"]))
    return content.getvalue()[:-12] + struct.pack("<3I", *codes)


def test_text_with_characters_that_do_not_exist(tmp_path: Path) -> None:
    (tmp_path / "own.npy").write_bytes(text_array(0x61, 0x10FFFF, 0))
    assert load_npy(tmp_path / "own.npy").tolist() == ["a\U0010ffff"]
    (tmp_path / "own.npy").write_bytes(text_array(0x61, 0x110000, 0))
    with pytest.raises(ValueError, match="characters that do not exist"):
        load_npy(tmp_path / "own.npy")


def test_a_member_without_a_name(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("x", b"")
    # The name of one byte becomes one of none, in both places where it stands.
    data = content.getvalue().replace(b"\x01\x00\x00\x00x", b"\x00\x00\x01\x00x")
    start = data.index(b"PK\x01\x02")
    data = data[: start + 28] + b"\x00\x00\x01\x00" + data[start + 32 :]
    (tmp_path / "own.npz").write_bytes(data)
    with pytest.raises(ValueError, match="."):
        load_npz(tmp_path / "own.npz")


@pytest.mark.parametrize("keep", [2, 30, 200, 400])
def test_an_old_weight_file_that_was_cut(keep: int, tmp_path: Path) -> None:
    target = build("weights:pth", tmp_path)
    assert not target.execute(target.seeds[0][:keep])


def test_an_old_weight_file_with_a_lie_about_its_length(tmp_path: Path) -> None:
    target = build("weights:pth", tmp_path)
    lie = struct.pack("<q", 2**62)
    assert not target.execute(target.seeds[0].replace(struct.pack("<q", 6), lie))


def test_what_is_valid_still_loads(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "own.pth", _use_new_zipfile_serialization=False)
    loaded: dict[str, Any] = read_weights(tmp_path / "own.pth")
    assert loaded["a"].tolist() == [0.0, 1.0, 2.0]
