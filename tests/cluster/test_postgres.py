"""Ledger and MLflow in PostgreSQL, workers on other machines than the database."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def on_network_of(cluster: Any) -> Iterator[None]:
    """Be on the first machine of a cluster with this thread, within the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as home, Path("/var/run/netns", cluster.machines[0].name).open() as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


@pytest.fixture
def database(cluster: Any, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A server on the first machine, which is started with the first URL that is asked for."""
    pytest.importorskip("psycopg2")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or os.geteuid() != 0:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    folder = cluster.folder / "pg"
    folder.mkdir()
    cluster.folder.chmod(0o755)
    shutil.chown(folder, "postgres")

    def do(program: str, *arguments: str) -> None:
        command = cluster.inside("runuser", "-u", "postgres", "--", str(found[-1] / program), *arguments)
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def url(name: str) -> str:
        if not (folder / "data").exists():
            do("initdb", "-D", str(folder / "data"), "-U", "plml", "--auth=trust", "-N")
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.99.0.0/24 trust\n")
            options = f"-p 5432 -h 10.99.0.1 -k {folder}"
            do("pg_ctl", "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "-o", options, "start")
        do("createdb", "-h", "10.99.0.1", "-U", "plml", name)
        return f"postgresql+psycopg2://plml@10.99.0.1:5432/{name}"

    yield url
    if (folder / "data").exists():
        do("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")


def test_a_machine_dies_while_both_databases_are_postgres(
    cluster: Any, march: Callable[..., Any], database: Callable[[str], str], tmp_path: Path
) -> None:
    cluster.add(cpus=1)
    siege = march(
        changes={"resources": {"cpu": 1, "gpu": 0}, "n_trials": 5},
        options=("--storage", database("optuna")),
        tracking=database("tracking"),
    )
    cluster.add(cpus=1)
    process = siege.start()
    siege.wait_until(lambda: bool(siege.training(cluster.machines[1].pids())), process)
    siege.wait(siege.epochs() + 4, process)
    cluster.machines[1].kill()
    assert siege.finish(process) == 0, siege.out()
    with on_network_of(cluster):
        siege.check("SIGKILL of a machine, ledger and MLflow in PostgreSQL", 1)
        assert siege.attempts() == {1}
        assert cluster.machines[0].address in {tags["plml.node"] for tags in siege.tags()}
