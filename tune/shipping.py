"""Joining a cluster: which one answers, and the driver's code for its machines, which need only the environment."""

import argparse
import json
import platform
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plml.errors import ConfigError
from tune.arguments import cluster

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("plml", "tune", "ablations")
ANSWER_S = 5.0  # a host that takes longer to accept a connection does not
INTRODUCTION_S = 15.0  # for a cluster to say which one it is
SHIPPED_ENVIRONMENT = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


def check_address(address: str) -> None:
    """Find out at once whether anybody answers; Ray would try for a minute.

    Raises:
        ConfigError: nobody does, or it is no address of a cluster.
    """
    try:
        cluster(address)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--address: {error}") from None
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--address {address}: no Ray cluster answers there ({error})") from None


def check_cluster(address: str) -> None:
    """Ask a cluster what it is; to a server of another kind Ray would listen for minutes.

    Raises:
        ConfigError: it is none, it does not let this process in, or it runs another version of Ray or Python.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    answer: list[bytes | Exception] = []

    def ask() -> None:
        try:
            answer.append(GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=ANSWER_S))
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread
            answer.append(error)

    asking = threading.Thread(target=ask, name="plml-ask", daemon=True)
    asking.start()
    asking.join(INTRODUCTION_S)
    if not answer or not answer[0]:
        raise ConfigError(f"--address {address}: what answers there is no Ray cluster")
    if isinstance(answer[0], Exception):
        raise ConfigError(f"--address {address}: {_reason(answer[0])}")
    there = json.loads(answer[0])
    theirs = {"Ray": there["ray_version"], "Python": _minor(there["python_version"])}
    ours = {"Ray": ray.__version__, "Python": _minor(platform.python_version())}
    for what in theirs:
        if theirs[what] != ours[what]:
            raise ConfigError(
                f"--address {address}: the cluster runs {what} {theirs[what]}, and this process {what} {ours[what]}"
            )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


@contextmanager
def shipped_code() -> Iterator[dict[str, Any]]:
    """Yield a runtime environment whose workers run a copy of this process's code, whatever their machine has.

    A working directory rather than modules beside it: with one, Ray does not put the driver's own folder, at whose
    path another machine may have other code, before everything else.
    """
    with tempfile.TemporaryDirectory(prefix="plml-code-") as folder:
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=ignored)
        yield {"working_dir": folder, "env_vars": SHIPPED_ENVIRONMENT}


@contextmanager
def joined(address: str, **options: Any) -> Iterator[None]:
    """Be a driver of the cluster at ``address`` within the block.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``.
        options: of ``ray.init``.

    Raises:
        ConfigError: there is none, it runs another version of Ray or Python, or it does not let this process in.
    """
    import ray

    check_address(address)
    if address != "auto":
        check_cluster(address)
    try:
        with shipped_code() as environment:
            ray.init(address=address, runtime_env=environment, **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise ConfigError(f"--address {address}: {_reason(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _reason(error: Exception) -> str:
    """Return why a cluster cannot be joined, in one line."""
    text = " ".join(str(error).split())
    if "AuthToken" in text or "authentication" in text.lower() or "Unauthenticated" in text:
        return (
            "the cluster asks for another token; RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH must be the same here as "
            "where it was started"
        )
    return f"this process cannot join the cluster ({text[:300]})"
