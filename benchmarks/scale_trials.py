"""Whether trial 2,000 of a study costs what trial 200 did: time, the driver's memory and processor, what is stored.

    python benchmarks/scale_trials.py --trials 2000 --out scale_trials.csv --figure docs/images/scale_trials.svg

The study is real: ``python tune/run.py`` with Ray, the ledger, MLflow (a SQLite database) and run folders, watched from
outside. Its trials are tiny: mode ``linear`` on 300 examples of 64 features, 5 classes, 3 epochs, drawn at random; with
``--population 1`` every trial has a worker to itself, so that Ray hands out each one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_loop import random_features  # noqa: E402
from benchmarks.watching import Sample, per_trial, size_mib, watch, write_samples  # noqa: E402

SIZES = {"train": 300, "val": 100, "test": 100}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, print windows of it, write samples and figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--population", type=int, default=1, help="trials that a worker trains at once")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--out", type=Path, metavar="CSV")
    parser.add_argument("--figure", type=Path, metavar="SVG")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        samples, closing = measure(Path(folder), options)
    windows(samples, options.trials)
    print(f"from the last trial's end to the command's: {closing:.1f} s")  # noqa: T201
    if options.out:
        write_samples(samples, options.out)
    if options.figure:
        draw(samples, options.figure)


def measure(folder: Path, options: argparse.Namespace) -> tuple[list[Sample], float]:
    """Run the study; return the samples, and the seconds that its end took."""
    features(folder / "features.npz")
    study = {
        "base": {
            "mode": "linear",
            "epochs": 3,
            "device": "cpu",
            "data": {"name": "arrays", "root": str(folder / "features.npz"), "observation": "single_positive"},
            "method": "an",
            "optim": {"batch_size": 32},
            "selection": {"labels": "clean"},
        },
        "search_space": {"optim.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}},
        "sampler": {"name": options.sampler},
        "resources": {"gpu": 0, "population": options.population},
        "n_trials": options.trials,
    }
    (folder / "scale.yaml").write_text(yaml.safe_dump(study))
    results = folder / "results"
    trials = results / "scale" / "trials"
    process = subprocess.Popen(  # noqa: S603 - this interpreter, this project
        [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "scale.yaml"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )

    def ended() -> int:
        return sum(1 for _ in trials.glob("*/result.json"))

    with watch(psutil.Process(process.pid), ended, results / "scale" / "optuna.log", results / "mlflow.db") as samples:
        while process.poll() is None and ended() < options.trials:
            time.sleep(0.5)
        done = time.perf_counter()
        if process.wait():
            raise SystemExit(f"the study ended with exit code {process.returncode}")
        closing = time.perf_counter() - done
    stored = size_mib(*(file for file in results.rglob("*") if file.is_file()))
    print(f"stored in all: {stored:.0f} MiB, {1024 * stored / options.trials:.0f} KiB a trial")  # noqa: T201
    return samples, closing


def features(file: Path) -> None:
    """Write random features as a file of the data set ``arrays``."""
    import numpy as np

    data = random_features(SIZES, 64, 5)
    np.savez(
        file,
        features=np.concatenate([each for each, _, _ in data.values()]),
        labels=np.concatenate([truth for _, truth, _ in data.values()]).astype(np.int8),
        split=np.concatenate([[name] * size for name, size in SIZES.items()]),
    )


def windows(samples: list[Sample], trials: int) -> None:
    """Print what a trial costs in each tenth of the study."""
    print("   trials   ms a trial   driver's cpu, ms   driver's memory, MiB   ledger, KiB   MLflow, KiB")  # noqa: T201
    step = max(1, trials // 10)
    for first in range(0, trials - step + 1, step):
        last = first + step
        figures: list[Any] = [
            1e3 * per_trial(samples, first, last, lambda sample: sample.seconds),
            1e3 * per_trial(samples, first, last, lambda sample: sample.cpu_s),
            next((sample.rss_mib for sample in samples if sample.trials >= last), samples[-1].rss_mib),
            1024 * per_trial(samples, first, last, lambda sample: sample.ledger_mib),
            1024 * per_trial(samples, first, last, lambda sample: sample.mlflow_mib),
        ]
        print(f"{first:5}-{last:<5}" + "".join(f"{figure:15.1f}" for figure in figures))  # noqa: T201


def draw(samples: list[Sample], file: Path) -> None:
    """Draw time a trial and the driver's memory over the study."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    step = max(1, samples[-1].trials // 20)
    places = range(step, samples[-1].trials + 1, step)
    left.plot(places, [1e3 * per_trial(samples, p - step, p, lambda s: s.seconds) for p in places], label="time")
    left.plot(places, [1e3 * per_trial(samples, p - step, p, lambda s: s.cpu_s) for p in places], label="driver's cpu")
    left.set(xlabel="trials that have ended", ylabel="ms a trial", ylim=(0, None))
    left.legend(frameon=False)
    right.plot([s.trials for s in samples], [s.rss_mib for s in samples], label="driver's memory")
    right.plot([s.trials for s in samples], [s.ledger_mib + s.mlflow_mib for s in samples], label="ledger and MLflow")
    right.set(xlabel="trials that have ended", ylabel="MiB", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


if __name__ == "__main__":
    main()
