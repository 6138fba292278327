"""The compose file on this machine: images are built, services started in the order of their health, and counted.

Options of ``podman build`` that a machine needs are given by ``PLML_PODMAN_BUILD``, such as ``--network=host``.
"""

import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from siege import SAID, STUDY, Siege, print_figures

from tune.records import counted_trials

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
IMAGE = "localhost/plml:cpu"
BUILD_S, HEALTHY_S = 3600.0, 600.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured, and what became of the studies."""
    print_figures(terminalreporter)


def run(*command: str, timeout: float = 600.0, check: bool = True, **options: Any) -> str:
    """Run a command and return what it said.

    What it says goes to a file: a container that stays holds its pipes open.
    """
    log = options.pop("log")
    with log.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=timeout, check=False, **options)
    said = log.read_text(errors="replace")
    assert not check or done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{said[-4000:]}"
    return str(said)


@dataclass
class Stack:
    """One project of the compose file, with secrets, a port and volumes of its own.

    Attributes:
        folder: of what the host gives to it, and of logs.
        name: of the project.
        environment: what stands in docker/.env otherwise.
    """

    folder: Path
    name: str
    environment: dict[str, str]
    services: dict[str, Any] = field(default_factory=lambda: yaml.safe_load(COMPOSE.read_text())["services"])

    @property
    def tracking(self) -> str:
        """Address of MLflow on the host."""
        return f"http://127.0.0.1:{self.environment['MLFLOW_PORT']}"

    def podman(self, *arguments: str, **options: Any) -> str:
        return run("podman", *arguments, log=self.folder / "podman.txt", **options).strip()

    def compose(self, *arguments: str, **options: Any) -> str:
        command = ("podman-compose", "-p", self.name, "-f", str(COMPOSE), *arguments)
        environment = {**os.environ, **self.environment}
        return run(*command, log=self.folder / "compose.txt", cwd=self.folder, env=environment, **options)

    def containers(self, service: str) -> list[str]:
        """Return the names of a service's containers, whatever their state."""
        label = f"label=com.docker.compose.service={service}"
        named = ("--filter", f"label=com.docker.compose.project={self.name}", "--filter", label)
        return sorted(self.podman("ps", "-a", *named, "--format", "{{.Names}}").split())

    def state(self, container: str) -> dict[str, Any]:
        [inspected] = json.loads(self.podman("inspect", container))
        return dict(inspected["State"])

    def up(self) -> None:
        """Start what `up` starts, each service when those that it waits for are healthy.

        Podman before 4.6 has no such waiting, so the conditions of the file are followed here, by its own checks.
        """
        wanted = {name: service for name, service in self.services.items() if "profiles" not in service}
        started: list[str] = []
        while len(started) < len(wanted):
            for name, service in wanted.items():
                waits = service.get("depends_on", {})
                if name in started or not set(waits) <= set(started):
                    continue
                for other, how in waits.items():
                    assert how["condition"] == "service_healthy"
                    for container in self.containers(other):
                        self.wait_until_healthy(container)
                self.compose("up", "-d", "--no-deps", "--no-recreate", name)
                started.append(name)

    def wait_until_healthy(self, container: str) -> None:
        deadline = time.monotonic() + HEALTHY_S
        check = ("podman", "healthcheck", "run", container)
        while subprocess.run(check, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, f"{container}: {self.podman('logs', container)[-4000:]}"
            time.sleep(1)

    def wait_until(self, reached: Callable[[], bool], limit_s: float = 1800.0) -> None:
        deadline = time.monotonic() + limit_s
        while not reached():
            [runner] = self.containers("runner")
            assert self.state(runner)["Running"], self.podman("logs", runner)[-4000:]
            assert time.monotonic() < deadline, self.podman("logs", runner)[-4000:]
            time.sleep(0.5)

    def finish(self, limit_s: float = 1800.0) -> str:
        """Wait for the runner's end; return what it said."""
        [runner] = self.containers("runner")
        self.podman("wait", runner, timeout=limit_s)
        said = self.podman("logs", runner)
        assert self.state(runner)["ExitCode"] == 0, said[-4000:]
        return said

    def down(self, *arguments: str) -> None:
        self.compose("down", *arguments)


class Freight(Siege):
    """A study in a volume, brought here to be counted."""

    stack: Stack

    def fetch(self) -> "Freight":
        """Bring the study's folder, as it is now."""
        [runner] = self.stack.containers("runner")
        shutil.rmtree(self.where.path, ignore_errors=True)
        self.where.path.parent.mkdir(exist_ok=True)
        self.stack.podman("cp", f"{runner}:/results/small", str(self.where.path))
        self.where.storage_file.unlink()  # names the journal by its path in the container
        return self

    def attempts(self) -> set[int]:
        """Return how many attempts trials took."""
        return {trial.user_attrs.get("attempt", 1) for trial in counted_trials(self.study())}

    def out(self) -> str:
        """Return what the runner said."""
        [runner] = self.stack.containers("runner")
        return self.stack.podman("logs", runner)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this checkout, built."""
    for program in ("podman", "podman-compose"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH")
    folder = tmp_path_factory.mktemp("build")
    if subprocess.run(["podman", "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("podman does not work here: `podman info` fails")
    options = shlex.split(os.environ.get("PLML_PODMAN_BUILD", ""))
    file = str(ROOT / "docker" / "Dockerfile")
    begin = time.monotonic()
    run("podman", "build", *options, "-t", IMAGE, "-f", file, str(ROOT), log=folder / "build.txt", timeout=BUILD_S)
    took = time.monotonic() - begin
    size = int(run("podman", "image", "inspect", "--format", "{{.Size}}", IMAGE, log=folder / "size.txt"))
    SAID.append(f"image {IMAGE}: {size / 1e9:.2f} GB, built in {took:.0f} s (with the layers that were there)")
    return IMAGE


@pytest.fixture
def stack(image: str, tmp_path: Path) -> Iterator[Stack]:
    """A project that is not up yet; nothing of it is left after the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = tmp_path / "data"
    given.mkdir(mode=0o755)
    environment = {
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "MLFLOW_PORT": str(port),
        "PLML_DATA": str(given),
        "STUDY": "/data/small.yaml",
    }
    made = Stack(tmp_path, f"plmltest{os.getpid()}", environment)
    try:
        yield made
    finally:
        made.down("-v")


@pytest.fixture
def freight(stack: Stack, tmp_path: Path) -> Callable[..., Freight]:
    """Give the project a study; see the chaos tests' for the arguments."""

    def make(**options: Any) -> Freight:
        made = Freight(tmp_path / "study", tracking=stack.tracking, **options)
        made.stack = stack
        shutil.copy(made.folder / "small.yaml", tmp_path / "data" / "small.yaml")
        return made

    make.study = STUDY  # type: ignore[attr-defined]
    return make


@pytest.fixture
def say() -> Callable[[str], None]:
    """Keep a line for the end."""
    return SAID.append
