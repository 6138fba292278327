"""A process watched from outside while it works: memory, processor time, sizes of what it writes."""

import csv
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """One look.

    Attributes:
        seconds: since the first look.
        trials: that have ended.
        rss_mib: memory of the driver.
        cpu_s: processor time of the driver so far.
        ledger_mib: size of the journal.
        mlflow_mib: size of MLflow's database, its write-ahead log included.
    """

    seconds: float
    trials: int
    rss_mib: float
    cpu_s: float
    ledger_mib: float
    mlflow_mib: float


def size_mib(*files: Path) -> float:
    """Return the size of files that are there, in MiB."""
    return sum(file.stat().st_size for file in files if file.is_file()) / MIB


@contextmanager
def watch(
    process: psutil.Process, ended: Callable[[], int], ledger: Path, mlflow: Path, every_s: float = 2.0
) -> Iterator[list[Sample]]:
    """Look at ``process`` within the block; what is yielded fills up meanwhile."""
    samples: list[Sample] = []
    leave, began = threading.Event(), time.perf_counter()

    def look() -> None:
        while not leave.wait(every_s):
            try:
                with process.oneshot():
                    rss, cpu = process.memory_info().rss, process.cpu_times()
            except psutil.Error:
                return
            samples.append(
                Sample(
                    time.perf_counter() - began,
                    ended(),
                    rss / MIB,
                    cpu.user + cpu.system,
                    size_mib(ledger),
                    size_mib(mlflow, mlflow.with_name(mlflow.name + "-wal")),
                )
            )

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        leave.set()
        thread.join()


def write_samples(samples: list[Sample], file: Path) -> None:
    """Write one line a look."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, [each.name for each in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def per_trial(samples: list[Sample], first: int, last: int, figure: Callable[[Sample], float]) -> float:
    """Return by how much a figure grew for each trial between trial ``first`` and trial ``last``."""
    begin = next(sample for sample in samples if sample.trials >= first)
    end = next((sample for sample in samples if sample.trials >= last), samples[-1])
    return (figure(end) - figure(begin)) / max(1, end.trials - begin.trials)
