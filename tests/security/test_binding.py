"""What listens while a study runs: nothing that another machine could reach."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from plml.tracking_pages import Pages
from tune.arguments import add_places
from tune.execution import LOOPBACK
from tune.run import build_parser

ROOT = Path(__file__).parents[2]
LIMIT_S = 400
OWN = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})  # the last one is IPv4's loopback in IPv6


def processes(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        yield from (parent, *parent.children(recursive=True))


def listeners(pid: int) -> dict[tuple[str, int], str]:
    """Return ``{(address, port): program}`` of a process and all that it started."""
    found = {}
    for process in processes(pid):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = process.name()
    return found


def test_the_search_for_listeners_sees_one_that_is_open_to_all() -> None:
    code = "import socket; s = socket.create_server(('0.0.0.0', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert ("0.0.0.0", port) in listeners(os.getpid())
        child.kill()


def test_the_pages_of_a_database_are_served_on_loopback() -> None:
    for uri in ("sqlite:////results/mlflow.db", "postgresql://me@host/db"):
        assert "--host 127.0.0.1 " in str(Pages(uri).ui_command)


def test_only_an_option_reaches_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray would take an address from here.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert build_parser().parse_args(["--study", "digits"]).address is None
    assert add_places.__doc__
    assert LOOPBACK == {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.mark.cluster
def test_all_that_a_local_study_listens_on_is_loopback(tmp_path: Path) -> None:
    study = {
        "base": {"epochs": 4, "data": {"name": "digits", "options": {"num_train": 160, "num_val": 60}}},
        "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
        "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
        "n_trials": 4,
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "small.yaml"]
    # Somebody else's cluster in the environment is not joined.
    environment = {**os.environ, "RAY_ADDRESS": "10.255.255.1:6379"}
    with (tmp_path / "said.txt").open("wb") as said:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=subprocess.STDOUT)
    found: dict[tuple[str, int], str] = {}
    until = time.monotonic() + LIMIT_S
    while driver.poll() is None:
        found |= listeners(driver.pid)
        assert time.monotonic() < until, (tmp_path / "said.txt").read_text()
        time.sleep(0.3)
    assert driver.returncode == 0, (tmp_path / "said.txt").read_text()
    programs = {name for (_, _), name in found.items()}
    assert {"gcs_server", "raylet"} <= programs, programs  # so that we did look
    assert any(name.startswith(("ray::", "python")) for name in programs), programs
    assert {address: name for address, name in found.items() if address[0] not in OWN} == {}
