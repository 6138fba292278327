"""The ledger in a real database that is restarted, killed, locked, or asked for by two drivers."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
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


class Postgres:
    """A PostgreSQL server of its own in a folder, on loopback; never run as root, which it refuses.

    Args:
        folder: of its data.
        programs: where ``initdb`` and ``pg_ctl`` are.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.user = "postgres" if os.geteuid() == 0 else None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
        self._do("initdb", "-D", str(folder / "data"), "-U", "plml", "--auth=trust", "-N")
        self.control("start")

    def url(self, database: str) -> str:
        """Return the address of a new database; Optuna and MLflow do not share one, and no two tests do."""
        self._do("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "plml", database)
        return f"postgresql+psycopg2://plml@127.0.0.1:{self.port}/{database}"

    def control(self, action: str, *how: str) -> None:
        """Start, stop or restart it."""
        settings = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self._do("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", settings,
                 *how, action)  # fmt: skip

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), *arguments], user=self.user, cwd=self.folder, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    pytest.importorskip("psycopg2")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = str(found[-1]) if found else shutil.which("initdb")
    if program is None:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    folder = tmp_path_factory.mktemp("postgres")
    for parent in [folder, *folder.parents][:4]:
        parent.chmod(0o755)  # its own user walks through
    server = Postgres(folder / "own", Path(program).parent)
    yield server
    with contextlib.suppress(subprocess.CalledProcessError):
        server.control("stop", "-m", "immediate")


def test_the_database_is_restarted_and_goes_away(besiege: Besiege, postgres: Postgres) -> None:
    siege = besiege(options=("--storage", postgres.url("restarted")), tracking=postgres.url("restarted_mlflow"))
    process = siege.start()
    for place in (1, 2, 3):
        siege.wait(place * siege.total // 6, process)
        postgres.control("restart", "-m", "immediate")  # as a crash: connections break in the middle of anything
    siege.wait(2 * siege.total // 3, process)
    postgres.control("stop", "-m", "immediate")
    siege.wait_until(lambda: "does not answer" in siege.out(), process)
    time.sleep(5)
    postgres.control("start")
    assert siege.finish(process) == 0, siege.out()
    assert "answers again" in siege.out()
    siege.check("PostgreSQL restarted, and away for a while", 4)


def test_two_output_folders_share_one_database(besiege: Besiege, postgres: Postgres) -> None:
    options = ("--storage", postgres.url("shared"))
    first = besiege(options=options)
    process = first.start()
    first.wait(3, process)
    second = besiege(options=options)
    told = second.again()
    assert told.returncode == 5, told.stdout + told.stderr
    assert f"process {process.pid} on" in told.stderr
    assert first.finish(process) == 0, first.out()
    first.check("a second driver, in another folder", 1)


def test_a_driver_on_postgres_is_killed(besiege: Besiege, postgres: Postgres) -> None:
    siege = besiege(
        changes={"n_trials": 4}, options=("--storage", postgres.url("killed")), tracking=postgres.url("killed_mlflow")
    )
    for _ in range(2):
        process = siege.start()
        siege.wait(siege.epochs() + 4, process)
        process.kill()
        process.wait()
    assert siege.run() == 0, siege.out()
    siege.check("SIGKILL of a driver on PostgreSQL", 2)


def test_the_database_is_locked(besiege: Besiege, tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    siege = besiege(options=("--storage", f"sqlite:///{file}"))
    process = siege.start()
    siege.wait(siege.total // 6, process)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        siege.wait_until(lambda: "does not answer" in siege.out(), process)
        time.sleep(3)
        other.execute("ROLLBACK")
    assert siege.finish(process) == 0, siege.out()
    siege.check("SQLite locked by another program", 1)
