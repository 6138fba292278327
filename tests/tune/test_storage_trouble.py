"""A disk that is full or read-only ends a trial as trouble of the storage, and leaves its last record as it was.

The disks are real: small file systems in memory, which root may mount; elsewhere the tests are skipped.
"""

import errno
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plml.checkpoint import load_checkpoint
from plml.config import make_config
from plml.errors import DataError
from plml.pace import Pace
from plml.storage import storage_trouble
from plml.trainer import Trainer
from tune.crew import Orders, run_crew
from tune.trainable import Task, TrialReport, run_task

BASE: dict[str, Any] = {
    "mode": "linear",
    "epochs": 6,
    "method": "an",
    "device": "cpu",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 80, "num_val": 40, "num_test": 40},
    },
    "stopping": {"rule": "patience", "patience": 9},
    "optim": {"lr": 3e-4},
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial without any trouble."""
    folder = tmp_path_factory.mktemp("straight")
    run(task_of(folder))
    return folder


@pytest.fixture
def recorded_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, seconds: True)


def fill(disk: Path, room: int) -> None:
    """Leave ``room`` bytes, in whole pages."""
    with (disk / "filler").open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() // 4096 * 4096 - room)


def task_of(folder: Path, **changes: Any) -> Task:
    return replace(Task(make_config(BASE).tree(), str(folder)), **changes)


def run(task: Task, at: Callable[[TrialReport], object] = lambda told: None) -> list[TrialReport]:
    told: list[TrialReport] = []

    def report(one: TrialReport) -> None:
        told.append(one)
        at(one)

    run_task(task, report)
    return told


def same_result(folder: Path, other: Path) -> bool:
    files = ("result.json", "scores/test.npy", "scores/val_0000.npy", "scores/val_0005.npy")
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("epoch", "room", "file"),
    [
        (0, 0, "scores/val_0001.npy"),
        (0, 4096, "best.pt.next"),  # the second epoch is better than the first
        (1, 4096, "last.pt"),  # and the third one is not
        (4, 0, "scores/test.npy"),
        (4, 8192, "result.json"),
        (4, 12288, "metrics.jsonl"),  # whose last line needs another page
    ],
)
def test_the_disk_fills_up(
    tmp_path: Path, disk: Path, straight: Path, recorded_always: None, epoch: int, room: int, file: str
) -> None:
    told = run(task_of(disk / "trial"), lambda one: fill(disk, room) if one.epoch == epoch else None)
    assert [one.outcome for one in told] == ["running"] * (epoch + 1) + ["storage"]
    assert told[-1].detail == f"{disk / 'trial' / file}: No space left on device (ENOSPC)"
    assert load_checkpoint(disk / "trial" / "last.pt")["epoch"] == epoch + 1
    assert not list(disk.rglob("*.tmp"))
    (disk / "filler").unlink()
    assert run(task_of(disk / "trial"))[-1].outcome == "complete"
    assert same_result(disk / "trial", straight)


def test_a_disk_that_turns_read_only(disk: Path, straight: Path, recorded_always: None) -> None:
    trial = disk / "trial"

    def turn(one: TrialReport) -> None:
        if one.epoch == 1:  # by a second mount in its place: the lock is open for writing in the first
            subprocess.run(["mount", "--bind", trial, trial], check=True)
            subprocess.run(["mount", "-o", "remount,ro,bind", trial], check=True)

    told = run(task_of(trial), turn)
    assert [one.outcome for one in told] == ["running", "running", "storage"]
    assert "Read-only file system (EROFS)" in told[-1].detail
    assert str(trial) in told[-1].detail
    assert load_checkpoint(disk / "trial" / "last.pt")["epoch"] == 2
    [again] = run(task_of(disk / "trial"))  # it cannot even begin
    assert again.outcome == "storage"
    subprocess.run(["umount", trial], check=True)
    assert run(task_of(disk / "trial"))[-1].outcome == "complete"
    assert same_result(disk / "trial", straight)


def test_a_note_that_cannot_be_written_hides_nothing(
    disk: Path, recorded_always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epochs(self: Trainer) -> Iterator[Any]:
        fill(disk, 0)
        raise RuntimeError("the device is lost")
        yield

    monkeypatch.setattr(Trainer, "epochs", epochs)
    with pytest.raises(RuntimeError, match="the device is lost"):
        run(task_of(disk / "trial"))


def test_a_member_of_a_crew_whose_disk_is_full(tmp_path: Path, disk: Path, recorded_always: None) -> None:
    places = {"a": tmp_path, "b": disk, "c": tmp_path}
    tasks = [task_of(places[key] / key, key=key) for key in places]
    told: list[TrialReport] = []

    def exchange(news: list[TrialReport]) -> Orders:
        if not told:
            fill(disk, 0)
        told.extend(news)
        return Orders()

    run_crew(tasks, exchange)
    assert {one.key: one.outcome for one in told} == {"a": "complete", "b": "storage", "c": "complete"}
    detail = next(one.detail for one in told if one.outcome == "storage")
    assert str(disk / "b") in detail
    assert "ENOSPC" in detail
    assert load_checkpoint(disk / "b" / "last.pt")["epoch"] >= 1
    (disk / "filler").unlink()
    assert run(tasks[1])[-1].objective == pytest.approx(run(tasks[0])[-1].objective)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EACCES, errno.EROFS])
def test_what_cannot_be_caused_here_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded_always: None, number: int
) -> None:
    """Quotas, broken devices and servers that forgot: the error is the system's, raised where a file is synced."""

    def fsync(descriptor: int) -> None:
        raise OSError(number, "so says the system")

    told = run(task_of(tmp_path), lambda one: monkeypatch.setattr("plml.checkpoint.os.fsync", fsync))
    assert told[-1].outcome == "storage"
    assert told[-1].detail.endswith(f"so says the system ({errno.errorcode[number]})")
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 1


def test_trouble_behind_another_error_is_found() -> None:
    cause = OSError(errno.EIO, "Input/output error", "/data/a.jpg")
    error = DataError("a.jpg cannot be read")
    error.__cause__ = cause
    assert storage_trouble(error) == "/data/a.jpg: Input/output error (EIO)"
    assert storage_trouble(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert storage_trouble(ConnectionRefusedError(errno.ECONNREFUSED, "refused")) is None
    assert storage_trouble(RuntimeError("no space left on device")) is None
