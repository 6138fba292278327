"""Files are whole or absent, and nothing in a checkpoint is executed."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from plml.checkpoint import load_checkpoint, save_checkpoint, write_array, write_whole
from plml.errors import CheckpointError


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"weights": torch.arange(3.0), "note": "x", "list": [1, {"b": None}]})
    content = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(content["weights"], torch.arange(3.0))
    assert content["list"] == [1, {"b": None}]


def test_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    write_array(file, np.arange(3))

    def fail(stream: object) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_whole(file, fail)
    assert np.array_equal(np.load(file), np.arange(3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_a_killed_writer_leaves_a_loadable_file(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    script = (
        "import sys, torch; from pathlib import Path; from plml.checkpoint import save_checkpoint\n"
        "n = 0\n"
        "while True:\n"
        "    save_checkpoint(Path(sys.argv[1]), {'n': n, 'w': torch.full((200_000,), float(n))}); n += 1\n"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", script, str(file)])
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        content = load_checkpoint(file)
        assert (content["w"] == content["n"]).all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "a.pt"
    save_checkpoint(file, {"w": torch.zeros(1000)})
    whole = file.read_bytes()
    file.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        load_checkpoint(file)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("exploded",))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "bomb": Bomb()}, tmp_path / "a.pt", pickle_module=pickle)
    with pytest.raises(CheckpointError, match="not loaded"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "exploded").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a file"):
        load_checkpoint(tmp_path / "best.pt")
