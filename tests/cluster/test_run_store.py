"""Machines that share no folder: runs are kept in a store by URL, and the driver has them all in the end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
March = Callable[..., Any]
ONE = {"cpu": 1, "gpu": 0}


def begin(cluster: Any, march: March, python: str, store: str, **changes: Any) -> Any:
    """Make a driver's machine that trains nothing, two that see no folder of it, and the study."""
    siege = march(changes={"resources": ONE, **changes}, options=("--run-store", store))
    cluster.add(cpus=0)
    for _ in range(2):
        cluster.add(cpus=1, hide=[siege.folder], python=python)
    return siege


def all_files_are_there(siege: Any) -> None:
    """What readers of run folders need has come, and no worker left anything behind."""
    for folder in siege.where.path.glob("trials/*"):
        epochs = (folder / "metrics.jsonl").read_bytes().count(b"\n")
        assert len(list(folder.glob("scores/val_*.npy"))) == epochs
        assert (folder / "last.pt").is_file()
        assert json.loads((folder / "result.json").read_text())["best_epoch"] < epochs


def test_a_machine_dies_whose_folders_nobody_else_sees(
    cluster: Any, march: March, bare_python: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    store = tmp_path / "store"
    siege = begin(cluster, march, bare_python, f"file://{store}", n_trials=5)
    siege.store = store
    process = siege.start()
    siege.wait_until(lambda: all(each.workers() for each in cluster.machines[1:]), process)
    siege.wait(8, process)
    before = {file.parent.name for file in store.rglob("metrics.jsonl")}
    cluster.machines[2].kill()
    killed, told = time.monotonic(), siege.epochs()
    siege.wait_until(lambda: "goes on elsewhere" in siege.out(), process)
    say(f"away from the folder: the death of a machine is known after {time.monotonic() - killed:.0f} s")
    cluster.add(cpus=1, hide=[siege.folder], python=bare_python)
    assert siege.finish(process) == 0, siege.out()
    assert before
    assert told < siege.total
    siege.check("SIGKILL of a machine whose folders nobody sees", 1)
    assert siege.attempts() == {1}
    all_files_are_there(siege)
    # The same command has nothing to do and brings nothing again.
    assert siege.run() == 0, siege.out()
    siege.check("the same command again", 1)


def test_crews_take_orders_and_keep_their_runs_far_away(
    cluster: Any, march: March, bare_python: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    base = {**march.study["base"], "mode": "linear", "model": {"backbone": "small_cnn"}}  # type: ignore[attr-defined]
    siege = begin(cluster, march, bare_python, f"file://{store}", base=base, n_trials=12)
    siege.store = store
    assert siege.run() == 0, siege.out()
    siege.check("crews far away", 0)
    all_files_are_there(siege)


@pytest.fixture
def bucket(cluster: Any, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Start an S3 server on the first machine; credentials are in the environment of all."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    os.environ |= {
        "AWS_ENDPOINT_URL": "http://10.99.0.1:5555",
        "AWS_ACCESS_KEY_ID": "plml",
        "AWS_SECRET_ACCESS_KEY": "plml",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    yield lambda: serve(cluster, tmp_path)
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        del os.environ[key]


def serve(cluster: Any, folder: Path) -> None:
    with (folder / "s3.txt").open("wb") as out:
        command = cluster.inside(sys.executable, "-m", "moto.server", "-H", "10.99.0.1", "-p", "5555")
        cluster.beside.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT))
    code = (
        "import time, s3fs\n"
        "for _ in range(100):\n"
        "    try:\n"
        "        s3fs.S3FileSystem().mkdir('plml'); break\n"
        "    except Exception: time.sleep(0.5)\n"
    )
    subprocess.run(cluster.inside(sys.executable, "-c", code), check=True, timeout=120)


def test_a_machine_dies_whose_runs_are_in_s3(
    cluster: Any, march: March, bucket: Callable[[], None], say: Callable[[str], None]
) -> None:
    siege = march(changes={"resources": ONE, "n_trials": 4}, options=("--run-store", "s3://plml/studies"))
    cluster.add(cpus=0)
    bucket()
    for _ in range(2):
        cluster.add(cpus=1, hide=[siege.folder])
    process = siege.start()
    siege.wait_until(lambda: all(each.workers() for each in cluster.machines[1:]), process)
    siege.wait_until(lambda: "complete" in siege.out(), process)
    time.sleep(3)
    cluster.machines[2].kill()
    assert siege.finish(process) == 0, siege.out()
    siege.check("SIGKILL of a machine, runs in S3", 1)
    assert siege.attempts() == {1}
    all_files_are_there(siege)
