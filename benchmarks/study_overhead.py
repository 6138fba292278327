"""What a study costs beside its trainings: Ray, Optuna and MLflow against the same trainings in a bare loop.

    python benchmarks/study_overhead.py --out study_overhead.json

The study is real: ``python tune/run.py`` on 100 linear trials (random features, N = 5,000, D = 2,048, L = 20, batch 32,
method AN, learning rates of a grid), with its ledger, MLflow store, leaderboard and figures. Its wall time is
taken apart by the times that its ledger has: *start* until the first trial begins, *steady* until the last one
ends, *closing* until the process is gone. Against it, with the same configurations:

* bare, population: as many processes as the study has workers, each with a share of the runs, K at a time; no
  Optuna, no Ray, no MLflow, no reports;
* bare, one by one: the same with one Trainer after the other;
* Optuna alone: ``study.optimize`` in one process, TPE, a journal file, a value reported after every epoch;
* stock Ray Tune: ``OptunaSearch`` and a function that trains, as its manual has it; fewer trials, told per trial.

Bare loops are timed without imports and without reading the data; everything else has the start told apart.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, alone, available_cores, compared, seconds, show, write  # noqa: E402

SIZES = {"train": 5000, "val": 1143, "test": 5823}
QUICK_SIZES = {"train": 500, "val": 100, "test": 200}


@dataclass(frozen=True)
class Times:
    """Wall time of a study, taken apart; seconds."""

    start: float
    steady: float
    closing: float

    @property
    def whole(self) -> float:
        """From the command to its end."""
        return self.start + self.steady + self.closing


def write_features(file: Path, sizes: dict[str, int]) -> None:
    """Write random features as a file of the data set ``arrays``."""
    from benchmarks.classic_loop import random_features

    data = random_features(sizes, 2048, 20)
    np.savez(
        file,
        features=np.concatenate([features for features, _, _ in data.values()]),
        labels=np.concatenate([truth for _, truth, _ in data.values()]).astype(np.int8),
        split=np.concatenate([[name] * size for name, size in sizes.items()]),
    )


def base(features: Path, epochs: int) -> dict[str, Any]:
    """Return what all trials have in common, as configuration data."""
    return {
        "mode": "linear",
        "epochs": epochs,
        "device": "cpu",
        "data": {"name": "arrays", "root": str(features), "observation": "single_positive"},
        "method": "an",
        "optim": {"batch_size": 32},
        "selection": {"labels": "clean"},
    }


def rates(trials: int) -> list[float]:
    """Return the learning rates, one a trial."""
    return [float(f"{rate:.6g}") for rate in np.geomspace(1e-5, 1e-2, trials)]


def plml_study(scratch: Path, features: Path, options: argparse.Namespace) -> Times:
    """Run the study and take its wall time apart."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    study = {
        "base": base(features, options.epochs),
        "search_space": {"optim.lr": {"type": "categorical", "choices": rates(options.trials)}},
        "sampler": {"name": "grid"},
        "resources": {"cpu": 1, "gpu": 0, "max_concurrent": options.workers},
    }
    file = folder / "overhead.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", str(file), "--output-dir", str(folder)]
    began = time.time()
    quietly(command, folder / "log", scratch)
    ended = time.time()
    first, last, count = ledger_times(folder / "overhead")
    if count != options.trials:
        raise SystemExit(f"the study ended {count} of {options.trials} trials; see {folder / 'log'}")
    return Times(first - began, last - first, ended - last)


def ledger_times(folder: Path) -> tuple[float, float, int]:
    """Return when the first trial began and the last one ended, as Unix times, and how many have ended."""
    from tune.folders import StudyFolder
    from tune.records import open_study

    ended = [trial for trial in open_study(StudyFolder(folder)).trials if trial.datetime_complete]
    first = min(trial.datetime_start.timestamp() for trial in ended if trial.datetime_start)
    return first, max(trial.datetime_complete.timestamp() for trial in ended if trial.datetime_complete), len(ended)


def quietly(command: Sequence[str], log: Path, scratch: Path) -> None:
    """Run a command with its output in a file; show the end of it if the command fails."""
    with log.open("w") as file:
        code = subprocess.run(command, check=False, stdout=file, stderr=file, env=environment(scratch)).returncode  # noqa: S603
    if code:
        raise SystemExit(f"{' '.join(command)} ended with exit code {code}:\n{log.read_text()[-2000:]}")


def environment(scratch: Path) -> dict[str, str]:
    """Return the environment of subprocesses: one thread each, a cache of their own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PLML_CACHE_DIR": str(scratch / "cache")}


def bare(kind: str, scratch: Path, features: Path, options: argparse.Namespace) -> float:
    """Train all configurations in bare processes and return the longest time one of them took."""
    shares = [rates(options.trials)[place :: options.workers] for place in range(options.workers)]
    task = {"kind": kind, "features": str(features), "epochs": options.epochs, "population": options.population}
    started = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, str(Path(__file__).resolve()), "--bare", json.dumps({**task, "rates": share})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(scratch),
        )
        for share in shares
    ]
    for process in started:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise SystemExit(f"bare loop '{kind}' ended before it was ready")
    spent = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        told, _ = process.communicate()
        spent.append(float(told))
    return max(spent)


def run_bare(task: dict[str, Any]) -> None:
    """Be a bare process: read the data, wait for the others, train, tell the seconds."""
    from plml.config import make_config
    from plml.data.load import load_bundle
    from plml.population import Population
    from plml.trainer import Trainer

    tree = base(Path(task["features"]), task["epochs"])
    configs = [make_config(tree, {"optim.lr": rate}) for rate in task["rates"]]
    bundle = load_bundle(configs[0])
    with tempfile.TemporaryDirectory() as folder:

        def opened(places: Sequence[int]) -> list[Trainer]:
            return [Trainer(configs[place], bundle, Path(folder) / str(place)) for place in places]

        def one_by_one() -> None:
            for place in range(len(configs)):
                for trainer in opened([place]):
                    for _ in trainer.epochs():
                        pass

        def populations() -> None:
            for low in range(0, len(configs), task["population"]):
                members = opened(range(low, min(low + task["population"], len(configs))))
                for _ in Population(members).epochs():
                    pass

        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(f"{seconds(one_by_one if task['kind'] == 'one by one' else populations)}\n")


def optuna_alone(scratch: Path, features: Path, options: argparse.Namespace) -> tuple[float, int]:
    """Optimise in this process and return seconds and the number of trials."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from plml.config import make_config
    from plml.data.load import load_bundle
    from plml.trainer import Trainer

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    tree = base(features, options.epochs)
    bundle = load_bundle(make_config(tree), cache_dir=scratch / "cache")

    def objective(trial: optuna.Trial) -> float:
        config = make_config(tree, {"optim.lr": trial.suggest_float("optim.lr", 1e-5, 1e-2, log=True)})
        best = 0.0
        for report in Trainer(config, bundle, folder / str(trial.number)).epochs():
            best = report.metrics["selection/best"]
            trial.report(best, report.epoch)
        return best

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    study = optuna.create_study(storage=storage, direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    return seconds(lambda: study.optimize(objective, n_trials=options.stock_trials)), options.stock_trials


def ray_stock(scratch: Path, features: Path, options: argparse.Namespace) -> tuple[float, int]:
    """Run Ray Tune with its stock OptunaSearch in a process of its own; return seconds and trials."""
    folder = tempfile.mkdtemp(dir=scratch)
    task = {
        "features": str(features),
        "epochs": options.epochs,
        "trials": options.stock_trials,
        "workers": options.workers,
        "folder": folder,
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--stock", json.dumps(task)]
    with (Path(folder) / "log").open("w") as log:
        told = subprocess.run(  # noqa: S603
            command, check=True, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(scratch)
        ).stdout
    return float(told.splitlines()[-1]), options.stock_trials


def run_stock(task: dict[str, Any]) -> None:
    """Be a driver of stock Ray Tune and tell the seconds of ``fit``, Ray's own start left out."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": str(ROOT)}
    import ray
    from ray.tune import RunConfig, TuneConfig, Tuner, loguniform, report, with_resources
    from ray.tune.search.optuna import OptunaSearch

    tree, folder = base(Path(task["features"]), task["epochs"]), task["folder"]

    def train(config: dict[str, float]) -> None:
        import uuid

        from plml.config import make_config
        from plml.data.load import load_bundle
        from plml.trainer import Trainer

        run = make_config(tree, {"optim.lr": config["lr"]})
        for told in Trainer(run, load_bundle(run), Path(folder) / uuid.uuid4().hex).epochs():
            report({"best": told.metrics["selection/best"]})

    ray.init(address="local", num_cpus=task["workers"], include_dashboard=False, log_to_driver=False)
    tuner = Tuner(
        with_resources(train, {"cpu": 1}),
        param_space={"lr": loguniform(1e-5, 1e-2)},
        tune_config=TuneConfig(
            search_alg=OptunaSearch(seed=0),
            metric="best",
            mode="max",
            num_samples=task["trials"],
            max_concurrent_trials=task["workers"],
        ),
        run_config=RunConfig(storage_path=str(Path(folder) / "ray"), verbose=0),
    )
    spent = seconds(tuner.fit)
    ray.shutdown()
    sys.stdout.write(f"\n{spent}\n")


def shipped(name: str, scratch: Path) -> float:
    """Return the wall time of a study that comes with the project, from the command to its leaderboard."""
    folder = tempfile.mkdtemp(dir=scratch)
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", name, "--output-dir", folder]
    return seconds(lambda: quietly(command, Path(folder) / "log", scratch))


def measure(scratch: Path, options: argparse.Namespace) -> list[Figure]:
    """Return all figures."""
    features = scratch / "features.npz"
    write_features(features, QUICK_SIZES if options.quick else SIZES)
    times: list[Times] = []
    spent: dict[str, list[float]] = {"population": [], "one by one": []}
    alone_s: list[tuple[float, int]] = []
    stock_s: list[tuple[float, int]] = []
    for _ in range(options.rounds):
        times.append(plml_study(scratch, features, options))
        for kind, values in spent.items():
            values.append(bare(kind, scratch, features, options))
        if options.stock_trials:
            alone_s.append(optuna_alone(scratch, features, options))
            stock_s.append(ray_stock(scratch, features, options))
    name, trials = f"study of {options.trials} linear trials, {options.workers} workers", options.trials
    steady = [each.steady for each in times]
    figures = [
        compared(f"{name}, steady", "s", steady, f"bare loop, {kind}", values, smaller_is_better=True)
        for kind, values in spent.items()
    ]
    overhead = [100 * (one / other - 1) for one, other in zip(steady, spent["population"], strict=True)]
    figures.append(alone(f"{name}, overhead of its steady state on the bare population", "%", overhead))
    whole = [each.whole for each in times]
    figures.append(
        compared(f"{name}, whole", "s", whole, "bare loop, one by one", spent["one by one"], smaller_is_better=True)
    )
    figures += [alone(f"{name}, {part}", "s", [getattr(t, part) for t in times]) for part in ("start", "closing")]
    figures += [alone(f"bare loop, {kind}", "s", values) for kind, values in spent.items()]
    each = [value / trials for value in steady]
    for other, rounds in (("Optuna alone, one process", alone_s), ("stock Ray Tune with OptunaSearch", stock_s)):
        if rounds:
            a_trial = [spent_s / count for spent_s, count in rounds]
            figures.append(compared(f"{name}, a trial", "s", each, other, a_trial, smaller_is_better=True))
            figures.append(alone(f"{other}, a trial", "s", a_trial))
    for study in options.shipped:
        figures.append(alone(f"study {study}, from the command to the leaderboard", "s", [shipped(study, scratch)]))
    return figures


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--population", type=int, default=16, help="K of the bare population")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stock-trials", type=int, default=16, help="of Optuna alone and of stock Ray Tune; 0: none")
    parser.add_argument("--shipped", nargs="*", default=[], metavar="STUDY", help="also time these, such as digits")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="4 small trials, one round, no stock Ray Tune")
    parser.add_argument("--bare", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--stock", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.trials, options.epochs, options.rounds, options.stock_trials = 4, 2, 1, 0
    return options


def main() -> None:
    """Measure, print, write."""
    options = parse()
    if options.bare:
        run_bare(options.bare)
    elif options.stock:
        run_stock(options.stock)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            figures = measure(Path(scratch), options)
        show("overhead of a study", figures)
        write(figures, options.out)


if __name__ == "__main__":
    main()
