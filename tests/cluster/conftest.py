"""Clusters of several machines on this one: a network namespace is a machine, killing all its processes is its end.

Ray authenticates by token, as ``docs/cluster.md`` recommends, and the driver runs on the first machine. A machine may
be denied the folders of the others, so that it has the environment and nothing else.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from siege import SAID, STUDY, Siege, print_figures

from tune.records import counted_trials

ROOT = Path(__file__).parents[2]
UP_S = 180.0
PORT = 6379
# Kills what runs in the namespaces and removes them, when the tests end or the process that runs them is gone.
GUARDIAN = """
cat > /dev/null
for name in $(ip netns list | cut -d' ' -f1 | grep "^$0-"); do
    pids=$(ip netns pids "$name"); [ -z "$pids" ] || kill -9 $pids
    ip netns del "$name"
done
rm -rf "$1"
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured, and what became of the studies."""
    print_figures(terminalreporter)


@pytest.fixture
def say() -> Callable[[str], None]:
    """Keep a line for the end."""
    return SAID.append


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@dataclass
class Machine:
    """A namespace with Ray in it.

    Attributes:
        name: of the namespace.
        address: of the machine.
        process: ``ray start --block``.
        log: what it says.
    """

    name: str
    address: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def workers(self) -> list[int]:
        """Return the processes in which Ray trains trials here now."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):
                if "ImplicitFunc.train" in " ".join(psutil.Process(pid).cmdline()):
                    found.append(pid)
        return found

    def kill(self) -> None:
        """End everything on it at once, as when its power is cut."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Cluster:
    """Machines on a network of their own; the first is the head.

    Attributes:
        prefix: of the names of the namespaces.
        folder: of Ray's files; short, because sockets lie there.
        python: interpreter of the machines.
        beside: what else runs on them; it ends with them.
    """

    prefix: str
    folder: Path
    python: str = sys.executable
    machines: list[Machine] = field(default_factory=list)
    beside: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lan = f"{self.prefix}-lan"
        _ip("netns", "add", self._lan)
        _ip("-n", self._lan, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._lan, "link", "set", "br0", "up")
        (self.folder / "token").write_text("c0ffee" * 8)

    @property
    def address(self) -> str:
        return f"{self.machines[0].address}:{PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the cluster has."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH"))}
        return kept | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "OMP_NUM_THREADS": "1",
        }

    def add(self, cpus: int = 2, gpus: int = 0, *, hide: Sequence[Path] = (), python: str | None = None) -> Machine:
        """Start a machine and wait until Ray is up on it.

        Args:
            cpus: that Ray may use.
            gpus: names of GPUs that there are not.
            hide: folders that are empty for it.
            python: interpreter; default: the cluster's.
        """
        number = len(self.machines) + 1
        name, host = f"{self.prefix}-m{number}", f"10.99.0.{number}"
        _ip("netns", "add", name)
        _ip("-n", self._lan, "link", "add", f"v{number}", "type", "veth", "peer", "name", "e0", "netns", name)
        _ip("-n", self._lan, "link", "set", f"v{number}", "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{host}/24", "dev", "e0")
        for device in ("lo", "e0"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "route", "add", "default", "via", "10.99.0.254")  # Ray asks which address leads outside
        where = ("--head", "--port", str(PORT), "--include-dashboard", "false")
        command = [
            *(python or self.python, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
            *(where if not self.machines else ("--address", self.address)),
            *("--node-ip-address", host, "--num-cpus", str(cpus), "--num-gpus", str(gpus)),
            *("--object-store-memory", str(80 * 2**20)),
            *(("--temp-dir", str(self.folder / "ray")) if not self.machines else ()),
        ]
        hide = [*hide, self.folder / "ray"] if self.machines else hide  # each machine has files of Ray's of its own
        hidden = "".join(f"mount -t tmpfs none '{folder}' && " for folder in hide)
        log = self.folder / f"m{number}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", name, "sh", "-c", f'{hidden}exec "$@"', "sh", *command],
                cwd="/",
                env=self.environment | {"HOSTNAME": name},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        machine = Machine(name, host, process, log)
        self.machines.append(machine)
        until = time.monotonic() + UP_S
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < until, log.read_text(errors="replace")
            time.sleep(0.2)
        return machine

    def inside(self, *command: str, machine: int = 0) -> list[str]:
        """Return the command that runs ``command`` on a machine."""
        return ["ip", "netns", "exec", self.machines[machine].name, *command]


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has everything that the project needs, and not the project."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # Folders that are added like this are not searched for .pth files, such as that of an editable installation.
    (packages / "environment.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    python = str(folder / "bin" / "python")
    assert subprocess.run([python, "-c", "import torch, ray"], cwd="/", check=False).returncode == 0
    assert subprocess.run([python, "-c", "import plml"], cwd="/", stderr=-1, check=False).returncode == 1
    return python


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """An empty network; machines are added by the test, and nothing of them is left after it."""
    prefix = f"plml{os.getpid()}"
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the program ip (apt install iproute2)")
    try:
        _ip("netns", "add", f"{prefix}-try")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr}")
    folder = Path(tempfile.mkdtemp(prefix="pc", dir="/tmp"))
    guardian = subprocess.Popen(
        ["sh", "-c", GUARDIAN, prefix, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    assert guardian.stdin is not None
    network = Cluster(prefix, folder)
    try:
        yield network
    finally:
        guardian.stdin.close()
        guardian.wait(60)
        for process in [*network.beside, *(machine.process for machine in network.machines)]:
            process.wait(60)


class Expedition(Siege):
    """A siege whose driver is on the first machine of a cluster."""

    cluster: Cluster
    store: Path | None = None

    def epochs(self) -> int:
        """Return how many epochs the run folders tell of, wherever they are."""
        if self.store is None:
            return super().epochs()
        return sum(file.read_bytes().count(b"\n") for file in self.store.rglob("metrics.jsonl"))

    def training(self, pids: Collection[int]) -> list[Path]:
        """Return the run folders in which one of the processes was the last to show that it lives."""
        found = []
        for file in self.where.path.glob("trials/*/.alive"):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(file.read_text())["pid"] in pids:
                    found.append(file.parent)
        return found

    def attempts(self) -> set[int]:
        """Return how many attempts trials took."""
        return {trial.user_attrs.get("attempt", 1) for trial in counted_trials(self.study())}

    def tags(self) -> list[dict[str, str]]:
        """Return what MLflow knows of trials."""
        return [run.data.tags for run in self.mlflow()[0]]

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Type the command on the first machine."""
        tracking = ("--tracking-uri", self.tracking) if self.tracking else ()
        line = [
            *(self.cluster.python, str(self.root / "tune" / "run.py"), "--study", "small.yaml"),
            *("--address", self.cluster.address, *tracking, *self.options, *arguments),
        ]
        with (self.folder / "out.txt").open("wb") as out:
            process = subprocess.Popen(
                self.cluster.inside(*line),
                cwd=self.folder,
                env=self.cluster.environment | self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process


@pytest.fixture
def march(tmp_path: Path, cluster: Cluster) -> Iterator[Callable[..., Expedition]]:
    """Make studies on the cluster; whatever still runs at the end is stopped."""
    made: list[Expedition] = []

    def make(**options: Any) -> Expedition:
        made.append(Expedition(tmp_path / f"s{len(made)}", **options))
        made[-1].cluster = cluster
        return made[-1]

    make.study = STUDY  # type: ignore[attr-defined]
    yield make
    for each in made:
        each.stop()
