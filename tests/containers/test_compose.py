"""The image and the compose file at work: a study over two worker containers, one of which dies; down, and up again."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(5400),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
CHECK_IMAGE = """
import importlib.util, os, torch, torchvision
import boto3, cmaes, mlflow, optuna_dashboard, psycopg2, ray, s3fs
torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
torch.nn.functional.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 2, 2))
matrix = torch.eye(3)
torch.linalg.inv(matrix), torch.linalg.svd(matrix), torch.linalg.eigh(matrix), torch.fft.rfft(torch.ones(4))
import plml.trainer, tune.launch, ablations.launch
assert os.getuid() == 1000
assert not [name for name in ("pytest", "mypy", "ruff", "triton") if importlib.util.find_spec(name)]
for folder in ("/app", "/opt/venv"):
    assert not os.access(folder, os.W_OK), folder
for folder in ("/results", "/cache", "/artifacts"):
    assert os.access(folder, os.W_OK), folder
"""


def test_the_image_has_what_runs_and_nothing_that_a_gpu_needs_is_missed(stack: Any, image: str) -> None:
    inside = ("run", "--rm", "--network=none", "--cap-drop=ALL", image)
    stack.podman(*inside, "python", "-c", CHECK_IMAGE)
    assert "usage: plml" in stack.podman(*inside)
    assert "digits" in stack.podman(*inside, "python", "tune/run.py", "--list")
    for variable in stack.podman("image", "inspect", "--format", '{{join .Config.Env "\\n"}}', image).splitlines():
        assert "://" not in variable, variable


def test_a_worker_dies_then_everything_goes_down_and_up(
    stack: Any, freight: Callable[..., Any], say: Callable[[str], None]
) -> None:
    # Longer trials than those of the chaos tests: the study must not be over while containers are asked how it is.
    base = {**freight.study["base"], "epochs": 60}  # type: ignore[attr-defined]
    study = freight(changes={"resources": {"cpu": 1, "gpu": 0}, "n_trials": 8, "base": base})
    begin = time.monotonic()
    stack.up()
    say(f"all services up and healthy after {time.monotonic() - begin:.0f} s")
    _check_what_is_open(stack)
    first, second = stack.containers("ray-worker")

    def trained_on(container: str) -> int:
        found = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = stack.podman("inspect", "--format", found, container)
        return sum(run.data.tags.get("plml.node") == address for run in study.mlflow()[0])

    [runner] = stack.containers("runner")
    stack.wait_until(lambda: f"[2/{study.n_trials}]" in stack.podman("logs", runner))
    stack.wait_until(lambda: trained_on(first) >= 1 and trained_on(second) >= 1)
    died = stack.state(second)["Pid"]
    os.kill(died, signal.SIGKILL)  # its first process, and so all of it, as when memory runs out
    stack.finish()
    say(f"study of {study.n_trials} trials over two workers: {time.monotonic() - begin:.0f} s from `up` to its end")
    assert stack.state(second)["Pid"] not in (0, died)  # it was started again, by its policy
    stack.wait_until_healthy(second)
    study.fetch().check("SIGKILL of a worker container", 1)
    assert study.attempts() <= {1}
    findings, runs = study.findings(), {run.info.run_id for run in study.mlflow()[0]}

    begin = time.monotonic()
    stack.down()
    assert [stack.containers(service) for service in stack.services] == [[]] * len(stack.services)
    stack.up()
    said = stack.finish()
    say(f"down and up again: {time.monotonic() - begin:.0f} s, nothing trained")
    assert f"{study.n_trials} of {study.n_trials} trials are done" in said
    study.fetch().check("down, and up again", 1)
    assert study.findings() == findings
    assert {run.info.run_id for run in study.mlflow()[0]} == runs
    _check_artifacts(study)


def _check_what_is_open(stack: Any) -> None:
    """Who listens on the host, who runs as whom, and who knows which secret."""
    ports = {name: stack.podman("port", container) for name in stack.services for container in stack.containers(name)}
    assert {name: said for name, said in ports.items() if said} == {
        "mlflow": f"5000/tcp -> {stack.tracking.removeprefix('http://')}"
    }
    port = int(stack.environment["MLFLOW_PORT"])
    listening = {each.laddr.ip for each in psutil.net_connections("tcp") if each.laddr.port == port and not each.raddr}
    assert listening <= {"127.0.0.1"}
    for service in ("mlflow", "ray-head", "ray-worker", "runner"):
        for container in stack.containers(service):
            status = dict(
                line.split(":", 1) for line in stack.podman("exec", container, "cat", "/proc/self/status").splitlines()
            )
            assert status["Uid"].split() == ["1000"] * 4
            assert int(status["CapEff"], 16) == 0
            assert status["NoNewPrivs"].strip() == "1"
            told = stack.podman("exec", container, "env")
            assert (stack.environment["POSTGRES_PASSWORD"] in told) == (service == "mlflow")
            assert (stack.environment["RAY_AUTH_TOKEN"] in told) == (service != "mlflow")


def _check_artifacts(study: Any) -> None:
    """The best checkpoints went through the server into its volume, and come back."""
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    client = MlflowClient(tracking_uri=study.tracking)
    with_checkpoint = []
    for run in study.mlflow()[0]:
        with contextlib.suppress(StopIteration):
            next(each for each in client.list_artifacts(run.info.run_id) if each.path == "checkpoint")
            with_checkpoint.append(run.info.run_id)
    assert len(with_checkpoint) == 3  # track.top_k
    place = {"run_id": with_checkpoint[0], "artifact_path": "checkpoint/best.pt"}
    file = download_artifacts(**place, tracking_uri=study.tracking)
    assert Path(file).stat().st_size > 1000
