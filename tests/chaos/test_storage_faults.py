"""Disks that are full, read-only or not there; files that lose or change bytes while a study stands still."""

import contextlib
import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
Besiege = Callable[..., Any]


class Disk:
    """A small disk of its own, which can be made larger or read-only."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, size_kib: int) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(self.place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no permission to mount a small disk: {done.stderr.strip()}")

    def again(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.place)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Callable[[Path, int], Disk]]:
    made: list[Disk] = []

    def make(place: Path, size_kib: int) -> Disk:
        disk = Disk(place)
        disk.mount(size_kib)
        made.append(disk)
        return disk

    yield make
    for disk in reversed(made):
        disk.unmount()


@pytest.mark.parametrize("size_kib", [900, 1500, 2500])
def test_the_disk_of_the_study_is_full(besiege: Besiege, disks: Callable[[Path, int], Disk], size_kib: int) -> None:
    """Ledger and checkpoints share the disk; whichever write meets its end first, the launch ends in order."""
    siege = besiege()
    siege.tracking = f"sqlite:///{siege.folder}/mlflow.db"
    disk = disks(siege.folder / "results", size_kib)
    code = siege.run()
    assert code == 4, siege.out()
    assert "No space left on device" in siege.out()
    assert "Traceback" not in siege.out()
    disk.again("size=1g")
    assert siege.run() == 0, siege.out()
    siege.check(f"disk full at {size_kib} KiB", 1)


def test_the_disk_of_mlflow_is_full(besiege: Besiege, disks: Callable[[Path, int], Disk], tmp_path: Path) -> None:
    disk = disks(tmp_path / "small disk", 1600)  # an empty database has about 1.2 MB
    siege = besiege()
    siege.tracking = f"sqlite:///{tmp_path}/small disk/mlflow.db"
    assert siege.run() == 0, siege.out()
    assert "the same command delivers everything later" in siege.out()
    disk.again("size=1g")
    assert siege.run() == 0, siege.out()
    siege.check("disk full for MLflow's database and artifacts", 1)


def test_the_disk_of_mlflow_is_read_only(besiege: Besiege, disks: Callable[[Path, int], Disk], tmp_path: Path) -> None:
    disk = disks(tmp_path / "disk", 2**20)
    siege = besiege()
    siege.tracking = f"sqlite:///{tmp_path}/disk/mlflow.db"
    assert siege.run("--trials", "2") == 0, siege.out()
    disk.again("ro")
    assert siege.run() == 0, siege.out()
    assert siege.out().count("the same command delivers everything later") == 1
    assert "Traceback" not in siege.out()
    disk.again("rw")
    assert siege.run() == 0, siege.out()
    assert "training" not in siege.out()
    siege.check("MLflow's disk read-only", 1)


def test_mlflow_has_another_schema(besiege: Besiege, tmp_path: Path) -> None:
    siege = besiege()
    siege.tracking = f"sqlite:///{tmp_path}/mlflow.db"
    assert siege.run("--trials", "2") == 0, siege.out()
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        [(version,)] = database.execute("SELECT version_num FROM alembic_version").fetchall()
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0's
        database.commit()
        assert siege.run() == 0, siege.out()
        assert f"mlflow db upgrade 'sqlite:///{tmp_path}/mlflow.db'" in siege.out().replace("\n", "")
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.commit()
    assert siege.run() == 0, siege.out()
    siege.check("MLflow's database of another version", 1)


def test_the_disk_becomes_read_only(besiege: Besiege, disks: Callable[[Path, int], Disk]) -> None:
    siege = besiege()
    siege.tracking = f"sqlite:///{siege.folder}/mlflow.db"
    disk = disks(siege.folder / "results", 2**20)
    process = siege.start()
    siege.wait(siege.total // 4, process)
    # Files that are open for writing keep a disk from being remounted, so it is taken at once for everybody else.
    cover = Disk(siege.folder / "results")
    cover.mount(64)
    cover.again("ro")
    try:
        assert siege.finish(process) == 4, siege.out()
        assert "Traceback" not in siege.out()
        assert siege.run() in (2, 4), siege.out()
        assert "Traceback" not in siege.out()
        assert "Read-only file system" in siege.out()
    finally:
        cover.unmount()
    assert disk.place.joinpath("small").is_dir()
    assert siege.run() == 0, siege.out()
    siege.check("disk becomes read-only", 1)


def test_storage_that_is_not_there_is_said_at_once(besiege: Besiege, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    siege = besiege(changes={"n_trials": 2})
    for options in (
        ("--output-dir", str(tmp_path / "file" / "results")),
        ("--storage", "sqlite:////proc/none/study.db"),
        ("--storage", "/proc/none/study.log"),
    ):
        assert siege.run(*options) in (2, 4), siege.out()
        assert "Traceback" not in siege.out(), siege.out()
        assert "error:" in siege.out()
    assert siege.run() == 0, siege.out()
    siege.check("storage that is not there", 3)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_checkpoints_are_damaged(besiege: Besiege, chance: random.Random, damage: str) -> None:
    siege, damaged = besiege(), 0
    for _ in range(2):
        process = siege.start()
        siege.wait(siege.epochs() + 14, process)
        siege.interrupt(process)
        assert siege.finish(process) == 4, siege.out()
        for file in siege.where.path.glob("trials/*/last.pt"):
            content = bytearray(file.read_bytes())
            place = chance.randrange(len(content))
            if damage == "cut":
                content = content[:place]
            else:
                content[place] ^= 1 << chance.randrange(8)
            file.write_bytes(content)
            damaged += 1
    assert siege.run() == 0, siege.out()
    assert damaged >= 2
    siege.check(f"last.pt damaged: {damage}", damaged)


def test_both_records_are_damaged(besiege: Besiege) -> None:
    siege = besiege()
    process = siege.start()
    siege.wait(14, process)
    siege.interrupt(process)
    assert siege.finish(process) == 4, siege.out()
    damaged = 0
    for folder in siege.where.path.glob("trials/*"):
        for file in folder.glob("*.pt"):
            file.write_bytes(file.read_bytes()[:100])
            damaged += 1
    assert siege.run() == 0, siege.out()
    siege.check("every checkpoint damaged", damaged)


def test_the_journal_is_torn(besiege: Besiege, chance: random.Random) -> None:
    siege, times = besiege(), 2
    for _ in range(times):
        process = siege.start()
        siege.wait(siege.epochs() + 10, process)
        process.kill()
        process.wait()
        content = siege.where.journal.read_bytes()
        last = content.rstrip(b"\n").rfind(b"\n") + 1
        os.truncate(siege.where.journal, chance.randint(last, len(content) - 1))
    assert siege.run() == 0, siege.out()
    siege.check("last line of the journal torn", times)
