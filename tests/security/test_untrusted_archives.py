"""Files of arrays from anybody: nothing runs, nothing grows beyond the memory there is."""

import ast
import gzip
import io
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml.checkpoint import load_checkpoint
from plml.checkpoint_layouts import read_foreign
from plml.class_prior import read_prior
from plml.data import memory
from plml.data.archives import read_archive
from plml.data.files import read_array
from plml.data.parsed import parsed
from plml.data.plain_arrays import load_npy, load_npz, map_npy
from plml.data.tables import read_table
from plml.data.voc_xml import _parse
from plml.errors import CheckpointError, ConfigError, DataError
from plml.label_files import find_format
from plml.label_files.artifact import read_artifact
from plml.label_files.text import read_text
from plml.label_graph.initial import read_graph
from plml.models.weights import read_weights
from plml.schema import read_yaml

ROOT = Path(__file__).parents[2]


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What an attack makes; that it works is part of the test."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Attack(proof)))
    assert proof.is_dir()
    return tmp_path / "mark"


READERS: dict[str, Any] = {
    "npy": lambda file: read_array(file, "x"),
    "mapped npy": lambda file: read_array(file, "x", mmap=True),
    "cones npy": lambda file: find_format("cones").read(file, 3, None),
    "cole npy": lambda file: find_format("cole").read(file, 3, None),
    "mlcpl npy": lambda file: find_format("mlcpl").read(file, 3, None),
    "prior npy": lambda file: read_prior(file, (), 3),
    "graph npy": lambda file: read_graph(file, (), 3),
    "npz": read_archive,
    "cones npz": lambda file: find_format("cones").read(file, 3, None),
    "artifact npz": read_artifact,
    "weights pt": read_weights,
    "weights pth": read_weights,
    "checkpoint pt": load_checkpoint,
    "foreign pt": lambda file: read_foreign(file, "cones"),
}


@pytest.mark.parametrize("reader", READERS)
def test_nothing_in_a_file_is_run(reader: str, mark: Path, tmp_path: Path) -> None:
    suffix = reader.rpartition(" ")[2]
    file = tmp_path / f"attack.{suffix}"
    attack = np.array({"partial_labels": Attack(mark)}, dtype=object)
    if suffix == "npy":
        np.save(file, attack, allow_pickle=True)
    elif suffix == "npz":
        np.savez(file, setting=attack, labels=attack)
    else:
        torch.save({"format": 1, "w": Attack(mark)}, file, _use_new_zipfile_serialization=suffix == "pt")
    with pytest.raises((DataError, CheckpointError), match=re.escape(str(file))):
        READERS[reader](file)
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.mkdir [{mark}]", "!!python/name:os.system ''", "a: !!python/object:os.stat_result {{}}"],
)
def test_yaml_makes_no_objects(text: str, mark: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_yaml(text.format(mark=mark))
    assert not mark.exists()


def test_the_code_has_no_loader_that_runs_code() -> None:
    """Every ``load`` that could is told not to; and no shell, ``eval``, ``exec`` or temporary name is used."""
    forbidden = [
        r"allow_pickle=True(?!\))",
        r"pickle\.loads?\(",
        r"\bjoblib\b",
        r"yaml\.(unsafe_load|full_load|load_all)",
        r"shell=True",
        r"os\.(system|popen)\(",
        r"(?<![\w.])(eval|exec)\(",
        r"tempfile\.mktemp\(",
        r"extractall\(",
        r"urllib\.request",
        r"verify=False",
    ]
    for package in ("plml", "tune", "ablations", "benchmarks"):
        for file in sorted((ROOT / package).rglob("*.py")):
            text = file.read_text()
            for pattern in forbidden:
                assert not re.search(pattern, text), f"{file}: {pattern}"
            for call, options in loads(text):
                if call == "torch.load":
                    assert options.get("weights_only") == "True", file
                if call == "np.load":  # NumPy's own default is the same, so that it is safe without being told
                    assert options.get("allow_pickle", "False") == "False", file


def loads(code: str) -> Iterator[tuple[str, dict[str | None, str]]]:
    """Yield each call of a function called ``load`` and its keywords, as they are written."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".load"):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


# -- bombs --------------------------------------------------------------------------------------------------------


def head(shape: str, dtype: str = "<f8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("load", [load_npy, map_npy])
@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(99999999999999999999,)", "(2, 4611686018427387904)", "(-1,)", "(True,)", "(1.5,)"]
)
def test_a_head_that_says_more_than_the_file_has(shape: str, load: Any, tmp_path: Path) -> None:
    (tmp_path / "bomb.npy").write_bytes(head(shape) + b"x" * 16)
    with pytest.raises(ValueError, match="its head says|cannot be read|is not valid"):
        load(tmp_path / "bomb.npy")


def test_the_same_inside_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("labels.npy", head("(1000000000000,)") + b"x" * 16)
    with pytest.raises(DataError, match=r"bomb\.npz: .*its head says"):
        read_archive(tmp_path / "bomb.npz")


def compressed(file: Path, num_bytes: int) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("labels.npy", "w") as member:
        member.write(head(f"({num_bytes},)", "|i1"))
        for _ in range(num_bytes // 2**20):
            member.write(bytes(2**20))


def test_an_archive_that_unpacks_to_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bomb.npz"
    compressed(file, 64 * 2**20)
    assert file.stat().st_size < 100_000
    assert load_npz(file)["labels"].nbytes == 64 * 2**20
    monkeypatch.setattr(memory, "free_memory", lambda: 32 * 2**20)
    for read in (read_archive, lambda path: find_format("cones").read(path, 3, None), read_artifact):
        with pytest.raises(DataError, match=r"bomb\.npz: .*unpack to 0\.1 GiB, and 0\.0 GiB of memory are free"):
            read(file)


def test_an_archive_that_lies_about_its_size(tmp_path: Path) -> None:
    """The directory says eight bytes, the stream has a mebibyte: no more than was said is unpacked."""
    compressed(tmp_path / "honest.npz", 2**20)
    content = bytearray((tmp_path / "honest.npz").read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    size = directory + 24
    content[size : size + 4] = struct.pack("<I", 136)
    (tmp_path / "liar.npz").write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        load_npz(tmp_path / "liar.npz")


@pytest.mark.parametrize("name", ["../../evil.npy", "/abs.npy", "a/b.npy"])
def test_members_are_never_written_anywhere(name: str, tmp_path: Path) -> None:
    """Arrays are read from the archive; a member's name is a key and no path."""
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    content = io.BytesIO()
    np.save(content, np.arange(3))
    with zipfile.ZipFile(folder / "own.npz", "w") as archive:
        archive.writestr(name, content.getvalue())
    before = sorted(tmp_path.rglob("*"))
    assert list(load_npz(folder / "own.npz")) == [name.removesuffix(".npy")]
    assert sorted(tmp_path.rglob("*")) == before


def test_text_that_unpacks_to_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("labels.csv.gz", "labels.txt.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"a,1\n" * 2**20))
    assert len(read_text(tmp_path / "labels.txt.gz", "x")) == 2**20
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 2**20)
    with pytest.raises(DataError, match=r"labels\.csv\.gz: .*unpacks to more than"):
        read_table(tmp_path / "labels.csv.gz", "x")
    with pytest.raises(DataError, match=r"labels\.txt\.gz: .*unpacks to more than"):
        read_text(tmp_path / "labels.txt.gz", "x")


def test_a_matlab_file_that_unpacks_to_more_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "bomb.mat", {"X": np.zeros((1000, 1000))}, do_compression=True)
    assert (tmp_path / "bomb.mat").stat().st_size < 10_000
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    with pytest.raises(DataError, match=r"bomb\.mat: .*could unpack to"):
        read_archive(tmp_path / "bomb.mat")


def test_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    alone = memory.free_memory()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert memory.free_memory() == pytest.approx(alone, rel=0.5)
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.free_memory() == 995


def test_xml_neither_explodes_nor_reads_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    (tmp_path / "laughs.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "{"ha" * 50}">{entities}]><x>&a11;</x>')
    with pytest.raises(DataError, match=r"laughs\.xml: is not whole XML"):
        _parse(tmp_path / "laughs.xml")
    (tmp_path / "outside.xml").write_text(f'<!DOCTYPE x [<!ENTITY a SYSTEM "{tmp_path}/secret">]><x>&a;</x>')
    with pytest.raises(DataError, match=r"outside\.xml: is not whole XML"):
        _parse(tmp_path / "outside.xml")


def test_yaml_that_grows_by_repeating_itself_is_refused() -> None:
    """A list of ten references to a list of ten references ...: a kilobyte of text, and any message endless."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match=r"own\.yaml: .*repeat"):
        read_yaml("\n".join([*lines, "method: *a11"]), "own.yaml")


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}"])
def test_yaml_that_holds_itself_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"own\.yaml: .*holds itself"):
        read_yaml(text, "own.yaml")


def test_yaml_may_repeat_a_little() -> None:
    assert read_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_what_was_kept_of_a_parsed_file_may_be_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("plml.data.parsed.WORTH_KEEPING", 1)
    (tmp_path / "own.json").write_text("text")
    calls: list[int] = []

    def parse() -> dict[str, Any]:
        calls.append(1)
        return {"rows": np.arange(3)}

    for _ in range(2):
        parsed(tmp_path / "own.json", "r", parse)
    assert len(calls) == 1
    kept = next((tmp_path / "cache" / "parsed").iterdir())
    np.savez(kept, rows=np.array([Attack(tmp_path / "mark")], dtype=object))
    np.testing.assert_array_equal(parsed(tmp_path / "own.json", "r", parse)["rows"], np.arange(3))
    assert len(calls) == 2
    assert not (tmp_path / "mark").exists()
