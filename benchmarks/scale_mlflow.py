"""How many epochs a second an MLflow server takes from many workers.

    python benchmarks/scale_mlflow.py                                  # server on SQLite
    python benchmarks/scale_mlflow.py --backend postgresql+psycopg2://USER@HOST/DATABASE

Each writer is a process with a run of its own that tells an epoch of 25 figures after the other, as a worker does, and
waits for the answer. A cluster of N GPUs whose epochs take T seconds needs N / T epochs a second.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plml.report import EpochReport  # noqa: E402
from plml.tracking import RunLogger, Tracker  # noqa: E402

FIGURES = 25


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a server, let writers loose on it, and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", metavar="URI", help="database of the server; default: a new SQLite file")
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        backend = options.backend or f"sqlite:///{folder}/server.db"
        with server(Path(folder), backend, options.workers) as uri:
            tracker = Tracker(uri, timeout_s=60)
            experiment = tracker.open_experiment("load")
            print("writers   epochs a second   median, ms   slowest of 100, ms")  # noqa: T201
            for writers in options.writers:
                runs = [tracker.create_run(experiment, "w", params={}, tags={}) for _ in range(writers)]
                with ProcessPoolExecutor(writers, get_context("spawn")) as pool:
                    jobs = [pool.submit(write, uri, run, options.seconds) for run in runs]
                    times = [second for job in jobs for second in job.result()]
                slow = sorted(times)[int(0.99 * len(times))]
                rate = len(times) / options.seconds
                print(  # noqa: T201
                    f"{writers:7}   {rate:15.1f}   {1e3 * statistics.median(times):10.0f}   {1e3 * slow:18.0f}"
                )


def write(uri: str, run: str, seconds: float) -> list[float]:
    """Tell epochs for so long; return how long each took."""
    logger = RunLogger(uri, run, timeout_s=60)
    times: list[float] = []
    logger.log(EpochReport(0, {"selection/best": 0.0}, time.time()))  # connects
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        epoch = 1 + len(times)
        logger.log(EpochReport(epoch, {f"val/figure_{i:02d}": float(epoch * i) for i in range(FIGURES)}, time.time()))
        times.append(time.perf_counter() - began)
    return times


@contextmanager
def server(folder: Path, backend: str, workers: int) -> Iterator[str]:
    """Run an MLflow server on a port of its own on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    line += ["--workers", str(workers), "--backend-store-uri", backend]
    line += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - MLflow beside this interpreter
            line, cwd=folder, stdout=log, stderr=log,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        until, uri = time.monotonic() + 120, f"http://127.0.0.1:{port}"
        while time.monotonic() < until:
            if process.poll() is not None:
                raise SystemExit((folder / "server.log").read_text())
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
                break
            time.sleep(0.2)
        yield uri
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
