"""Trials that occupy several GPUs: how many fit, and a real study on a cluster whose GPUs are names only."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from plml.errors import ConfigError
from tune.crew_size import most_in_crew
from tune.devices import device_count
from tune.execution import make_plan
from tune.study_file import ResourcesConfig

ROOT = Path(__file__).parents[2]
LIMIT_S = 400
HOST = "127.0.0.2"  # Ray takes 127.0.0.1 for the address that other machines know
STUDY: dict[str, Any] = {
    "base": {
        "epochs": 2,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 160, "num_val": 60, "num_test": 80},
        },
        "optim": {"name": "sgd", "lr": 0.01, "batch_size": 15},
    },
    "search_space": {"method.name": {"type": "categorical", "choices": ["an", "role"]}},
    "sampler": {"name": "grid"},
}


@pytest.mark.parametrize(
    ("gpu", "nodes", "concurrent"),
    [
        (2.0, [2.0], 1),
        (2.0, [8.0], 4),
        (2.0, [3.0, 3.0], 2),
        (3.0, [8.0, 2.0, 4.0], 3),
        (0.5, [2.0], 4),
        (1.0, [3.0], 3),
    ],
)
def test_devices_that_share_a_trial_are_on_one_machine(gpu: float, nodes: list[float], concurrent: int) -> None:
    plan = make_plan(ResourcesConfig(gpu=gpu), 64, sum(nodes), own=False, nodes=nodes)
    assert plan.concurrent == concurrent
    assert plan.gpu == gpu


def test_no_machine_has_enough() -> None:
    with pytest.raises(ConfigError, match="2 GPU of one machine, and no machine has more than 1"):
        make_plan(ResourcesConfig(gpu=2.0), 8, 4, own=False, nodes=[1.0, 1.0, 1.0, 1.0])


def test_devices_of_a_trial() -> None:
    assert [device_count(gpus) for gpus in (0.0, 0.25, 1.0, 2.0, 8.0)] == [1, 1, 1, 2, 8]
    assert most_in_crew(ResourcesConfig(gpu=2.0, population=16), gpu=2.0) == 1
    assert most_in_crew(ResourcesConfig(gpu=1.0, population=16), gpu=1.0) == 16


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, psutil.Process]]:
    """A running Ray with two GPUs that do not exist: its address and its first process."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address", HOST, "--port", str(port), "--temp-dir", folder),
            *("--num-cpus", "4", "--num-gpus", "2", "--include-dashboard", "false"),
        ]
        with (Path(folder) / "start.txt").open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        until = time.monotonic() + 120
        while "Ray runtime started" not in (Path(folder) / "start.txt").read_text():
            assert process.poll() is None, (Path(folder) / "start.txt").read_text()
            assert time.monotonic() < until
            time.sleep(0.5)
        family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        try:
            yield f"{HOST}:{port}", psutil.Process(process.pid)
        finally:
            family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            os.kill(process.pid, signal.SIGTERM)
            process.wait(60)
            for pid in family:
                if psutil.pid_exists(pid):
                    os.kill(pid, signal.SIGKILL)


def followers(cluster: psutil.Process) -> set[int]:
    """Processes of second devices among those of a cluster."""
    found = set()
    for process in cluster.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "plml.distributed.follower" in process.cmdline():
                found.add(process.pid)
    return found


def run_study(
    folder: Path, cluster: tuple[str, psutil.Process], gpu: int
) -> tuple[dict[str, list[dict[str, float]]], int]:
    """Run the study with so many GPUs a trial; return each trial's figures by epoch and the most followers at once."""
    address, family = cluster
    folder.mkdir()
    (folder / "small.yaml").write_text(yaml.safe_dump({**STUDY, "resources": {"cpu": 2, "gpu": gpu}}))
    most, seen = 0, set[int]()
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "small.yaml", "--address", address],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    until = time.monotonic() + LIMIT_S
    while process.poll() is None:
        now = followers(family)
        most, seen = max(most, len(now)), seen | now
        assert time.monotonic() < until, (folder / "out.txt").read_text()
        time.sleep(0.1)
    assert process.returncode == 0, (folder / "out.txt").read_text()
    assert not any(map(psutil.pid_exists, seen))
    found = {}
    for file in sorted((folder / "results" / "small" / "trials").glob("*/metrics.jsonl")):
        rows = [json.loads(line)["metrics"] for line in file.read_text().splitlines()]
        config = yaml.safe_load((file.parent / "config.yaml").read_text())
        found[config["method"]["name"]] = rows
    return found, most


@pytest.mark.cluster
def test_a_study_whose_trials_take_two_devices_each(tmp_path: Path, cluster: tuple[str, psutil.Process]) -> None:
    alone, none = run_study(tmp_path / "alone", cluster, 0)
    together, one = run_study(tmp_path / "together", cluster, 2)
    assert (none, one) == (0, 1)  # two GPUs are one trial's, so trials came one after the other
    assert set(alone) == set(together) == {"an", "role"}
    for method, rows in alone.items():
        assert len(rows) == len(together[method]) == 2
        for a, b in zip(rows, together[method], strict=True):
            # Single precision, 22 steps of plain SGD: differences of rounding have not grown.
            assert b["train/loss"] == pytest.approx(a["train/loss"], rel=1e-5)
            assert b["val/ranking_loss"] == pytest.approx(a["val/ranking_loss"], abs=0.5)
            assert b["val/mAP"] == pytest.approx(a["val/mAP"], abs=0.5)
