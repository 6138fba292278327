"""A driver with 64 GPUs to feed, on a machine that has none: how busy it is, and how long a GPU waits for it.

    python benchmarks/scale_cluster.py --gpus 64 --trials 1000 --epochs 10 --epoch-s 4 --out scale_cluster.csv

Ray, ledger, scheduler, pruner and MLflow are the real ones; GPUs are logical, and a trial is
:mod:`benchmarks.stand_in`, which sleeps where a real one computes. So what is measured is everything but training.
"""

import argparse
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.watching import Sample, watch, write_samples  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the driver in a process of its own, watch it, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--epoch-s", type=float, default=4.0)
    parser.add_argument("--out", type=Path, metavar="CSV")
    parser.add_argument("--figure", type=Path, metavar="SVG")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.drive:
        drive_study(options.drive, options)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        line = [sys.executable, __file__, "--drive", str(folder), "--gpus", str(options.gpus)]
        line += ["--trials", str(options.trials), "--epochs", str(options.epochs), "--epoch-s", str(options.epoch_s)]
        environment = {**os.environ, "PLML_STAND_IN_S": str(options.epoch_s)}
        process = subprocess.Popen(line, env=environment)  # noqa: S603 - this interpreter, this file
        ended = folder / "ended.txt"

        def count() -> int:
            return ended.read_text().count("\n") if ended.exists() else 0

        with watch(psutil.Process(process.pid), count, folder / "s" / "optuna.log", folder / "mlflow.db") as samples:
            process.wait()
        show(samples, folder, options)
        if options.out:
            write_samples(samples, options.out)
        if options.figure:
            draw(samples, options.gpus / (options.epochs * options.epoch_s), options.figure)
    finally:
        shutil.rmtree(folder)


def drive_study(folder: Path, options: argparse.Namespace) -> None:
    """Be the driver: the real one, but for the trials and a Ray that counts GPUs that are not there."""
    import ray

    import tune.worker
    from benchmarks.stand_in import stand_in
    from plml.config import make_config
    from plml.terminal import Terminal
    from tune.driving import drive
    from tune.execution import ENVIRONMENT, LOOPBACK, Plan
    from tune.expansion import build_space
    from tune.folders import StudyFolder
    from tune.ledger import Ledger
    from tune.orders import OrderBook
    from tune.progress import StudyProgress
    from tune.searcher import LedgerSearcher
    from tune.stopping import Stopper
    from tune.study import Study
    from tune.study_file import StudyConfig
    from tune.trial_runs import TrialRuns

    config = StudyConfig.model_validate(
        {
            "base": {"epochs": options.epochs, "data": {"name": "digits", "observation": "single_positive"}},
            "search_space": {"optim.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}},
            "sampler": {"name": "tpe"},
            "pruner": {"name": "median", "min_epochs": options.epochs},
            "n_trials": options.trials,
        }
    )
    study = Study("s", config, build_space(config.search_space, config.base, make_config(config.base)), ())
    where = StudyFolder(folder / "s")
    ledger = Ledger(study, where, str(where.journal), options.trials)
    runs = TrialRuns(f"sqlite:///{folder}/mlflow.db", ledger, warn=print)
    runs.open_study()
    for key, value in {**ENVIRONMENT, **LOOPBACK, "PYTHONPATH": str(ROOT)}.items():
        os.environ.setdefault(key, value)
    ray.init(
        address="local", num_cpus=options.gpus, num_gpus=options.gpus, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, object_store_memory=2**27,
    )  # fmt: skip
    tune.worker.ray_trial = stand_in  # what the driver sends to the workers
    progress = StudyProgress(
        Terminal(stderr=True, quiet=True), metric="selection/best", mode="max", total=options.trials,
        concurrent=options.gpus, epochs=options.epochs,
    )  # fmt: skip
    began: dict[str, float] = {}

    class Clock:
        """Notes when trials begin and end, as the driver sees it."""

        def began(self, key: str, values: dict[str, object], attempt: int) -> None:
            began[key] = time.time()
            progress.began(key, values, attempt)

        def reported(self, key: str, epoch: int, objective: float) -> None:
            progress.reported(key, epoch, objective)

        def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
            progress.ended(key, state, objective, detail)
            with (folder / "ended.txt").open("a") as lines:
                lines.write(f"{key} {began[key]} {time.time()}\n")

    stopper = Stopper()
    plan = Plan(1, 1.0, options.gpus, options.gpus, options.gpus)
    searcher = LedgerSearcher(ledger, runs, Clock(), gpu=1.0, stopper=stopper)
    with stopper.watch():
        drive(searcher, plan, where.path, stopper, progress, OrderBook(where.path / ".orders"))
    ray.shutdown()


def show(samples: list[Sample], folder: Path, options: argparse.Namespace) -> None:
    """Print how well the GPUs were used and what the driver took."""
    lines = [line.split() for line in (folder / "ended.txt").read_text().splitlines()]
    begins, ends = [float(line[1]) for line in lines], sorted(float(line[2]) for line in lines)
    durations = [float(line[2]) - float(line[1]) for line in lines]
    # Between the end of the first trials and the end of the last but `gpus`, every GPU has something to do.
    first, last = ends[options.gpus], ends[-options.gpus]
    steady = sum(first <= end <= last for end in ends)
    rate, ideal = steady / (last - first), options.gpus / (options.epochs * options.epoch_s)
    inside = [sample for sample in samples if options.gpus < sample.trials < options.trials - options.gpus]
    busy = (inside[-1].cpu_s - inside[0].cpu_s) / (inside[-1].seconds - inside[0].seconds)
    workers = {file.read_text() for file in (folder / "s" / "trials").glob("*/worker.txt")}
    for text in (
        f"{len(lines)} trials, {options.gpus} at once; first began to last ended {ends[-1] - min(begins):.0f} s",
        f"workers that trained them: {len(workers)}",
        f"steady: {3600 * rate:.0f} trials an hour, {100 * rate / ideal:.1f} % of {3600 * ideal:.0f} without a driver",
        f"a trial takes {statistics.median(durations):.1f} s (computes {options.epochs * options.epoch_s:.1f} s)",
        f"reports: {rate * options.epochs:.1f} a second; driver busy {100 * busy:.0f} % of a core",
        f"driver's memory: {inside[0].rss_mib:.0f} MiB at first, {inside[-1].rss_mib:.0f} MiB at last",
        f"ledger {inside[-1].ledger_mib:.1f} MiB, MLflow {inside[-1].mlflow_mib:.1f} MiB",
    ):
        print(text)  # noqa: T201


def draw(samples: list[Sample], ideal: float, file: Path) -> None:
    """Draw trials over time beside those of a driver that costs nothing, and what the driver takes.

    Args:
        samples: of the driver.
        ideal: trials a second if every GPU computed all the time.
        file: where to.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    start = next(sample for sample in samples if sample.trials > 0)
    times = [sample.seconds - start.seconds for sample in samples]
    left.plot(times, [sample.trials for sample in samples], label="trials that have ended")
    ends = [0.0, (samples[-1].trials - start.trials) / ideal]
    left.plot(ends, [start.trials, samples[-1].trials], "--", color="grey", label="GPUs never wait")
    left.set(xlabel="seconds since the first end", xlim=(0, None), ylim=(0, None))
    left.legend(frameon=False)
    step = 10  # looks
    pairs = list(zip(samples[:-step], samples[step:], strict=True))
    busy = [100 * (late.cpu_s - early.cpu_s) / (late.seconds - early.seconds) for early, late in pairs]
    right.plot(times[step:], busy, label="driver's cpu, % of a core")
    right.set(xlabel="seconds since the first end", xlim=(0, None), ylim=(0, None), ylabel="%")
    memory = right.twinx()
    memory.plot(times, [sample.rss_mib for sample in samples], color="tab:orange", label="driver's memory")
    memory.set(ylim=(0, None), ylabel="MiB")
    right.legend(frameon=False, loc="lower left")
    memory.legend(frameon=False, loc="lower right")
    left.spines[["top", "right"]].set_visible(False)
    right.spines["top"].set_visible(False)
    memory.spines["top"].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


if __name__ == "__main__":
    main()
