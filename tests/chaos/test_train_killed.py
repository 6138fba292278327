"""``plml train`` without any study around it: killed, interrupted, out of disk, and each time the same end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plml.checkpoint import load_checkpoint

pytestmark = pytest.mark.chaos

EPOCHS = 24
CONFIG = f"""\
mode: end_to_end
epochs: {EPOCHS}
method: an
device: cpu
data: {{name: digits, observation: single_positive, options: {{num_train: 120, num_val: 40, num_test: 40}}}}
optim: {{lr: 0.002, batch_size: 30}}
"""
LIMIT_S = 300.0  # a machine may have other things to do


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finish(config, folder)[0] == 0
    return folder


def start(config: Path, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "plml", "train", str(config), "--output-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(config: Path, folder: Path) -> tuple[int, str]:
    """Run the command to its end; return exit code and output."""
    process = start(config, folder)
    output, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, output


def lines(folder: Path) -> int:
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(process: "subprocess.Popen[str]", folder: Path, epochs: int) -> None:
    """Return once ``epochs`` are told of, or the process has ended."""
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None and lines(folder) < epochs and time.monotonic() < deadline:
        time.sleep(0.005)


def assert_same_end(folder: Path, whole: Path) -> None:
    assert (folder / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    told = [
        [json.loads(line) for line in (place / "metrics.jsonl").read_bytes().splitlines()] for place in (folder, whole)
    ]
    assert [report["epoch"] for report in told[0]] == list(range(EPOCHS))
    assert [without_time(report["metrics"]) for report in told[0]] == [without_time(r["metrics"]) for r in told[1]]
    scores = [{p.name: p.read_bytes() for p in (place / "scores").glob("*.npy")} for place in (folder, whole)]
    assert scores[0] == scores[1]
    assert load_checkpoint(folder / "best.pt")["epoch"] == load_checkpoint(whole / "best.pt")["epoch"]
    assert not list(folder.rglob("*.tmp"))


def without_time(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(tmp_path: Path, config: Path, whole: Path, seed: int) -> None:
    moments = random.Random(seed)
    kills = 0
    while kills < 4:
        process = start(config, tmp_path / "run")
        wait_for(process, tmp_path / "run", lines(tmp_path / "run") + moments.randrange(4))
        time.sleep(moments.uniform(0, 0.2))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    assert kills == 4
    code, output = finish(config, tmp_path / "run")
    assert code == 0, output
    assert_same_end(tmp_path / "run", whole)
    assert not (tmp_path / "run" / "damaged").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_once_to_stop(tmp_path: Path, config: Path, whole: Path, number: signal.Signals) -> None:
    process = start(config, tmp_path / "run")
    wait_for(process, tmp_path / "run", 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, output
    done = lines(tmp_path / "run")
    assert 3 <= done < EPOCHS
    assert f"stopped after epoch {done - 1}; the same command goes on from there" in output
    assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == done  # nothing that was done is lost
    code, output = finish(config, tmp_path / "run")
    assert code == 0
    assert f"going on after epoch {done - 1}" in output
    assert_same_end(tmp_path / "run", whole)


def test_asked_twice_to_stop(tmp_path: Path, config: Path, whole: Path) -> None:
    process = start(config, tmp_path / "run")
    wait_for(process, tmp_path / "run", 5)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)  # so that the system does not make one signal of two
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, output
    assert time.monotonic() - asked < 10
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    assert finish(config, tmp_path / "run")[0] == 0
    assert_same_end(tmp_path / "run", whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_the_disk_is_full(disk: Path, config: Path, whole: Path) -> None:
    process = start(config, disk / "run")
    wait_for(process, disk / "run", 4)
    with (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                break
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, output
    assert "No space left on device (ENOSPC); what the run has recorded is whole" in output
    assert str(disk / "run") in output
    assert "Traceback" not in output
    (disk / "filler").unlink()
    code, output = finish(config, disk / "run")
    assert code == 0, output
    assert_same_end(disk / "run", whole)


def test_a_second_process_is_refused(tmp_path: Path, config: Path) -> None:
    process = start(config, tmp_path / "run")
    wait_for(process, tmp_path / "run", 1)
    code, output = finish(config, tmp_path / "run")
    process.kill()
    process.communicate()
    assert code == 2
    assert "another process trains here" in output
