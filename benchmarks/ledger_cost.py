"""What the driver of a study pays for a trial outside its training: the ledger, and delivery to MLflow.

``python benchmarks/ledger_cost.py --out FILE`` runs, for each sampler, a study whose trials report 25 epochs without
training, in the journal, on disk. Three studies take turns, trial by trial: one that comes to its 1,000th trial, one
that comes to its 100th, and the records of such a trial in Optuna's own journal back end. Delivery is timed with runs
of 25 epochs of 23 figures in a SQLite store: whole, as the delivery thread writes them, and with one call an epoch.
"""

import argparse
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, compared, seconds, show, take_turns, write  # noqa: E402
from plml.config import make_config  # noqa: E402
from plml.report import EpochReport  # noqa: E402
from plml.tracking import RunLogger, Tracker  # noqa: E402
from tune.expansion import build_space  # noqa: E402
from tune.folders import StudyFolder  # noqa: E402
from tune.ledger import Ledger  # noqa: E402
from tune.study import Study  # noqa: E402
from tune.study_file import StudyConfig  # noqa: E402

EPOCHS, FIGURES, WINDOW = 25, 23, 30
RANGE = {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="200 trials instead of 1,000, 5 runs instead of 20")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    last = 200 if options.quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        results: list[Figure] = []
        for sampler, pruner in (("random", "none"), ("random", "median"), ("tpe", "none")):
            results += ledger_results(Path(folder), sampler, pruner, last)
        results += delivery_results(Path(folder), 5 if options.quick else 20)
    show("What a trial costs outside its training", results)
    write(results, options.out)


def make_study(name: str, sampler: str, pruner: str, n_trials: int) -> Study:
    """Return a study over two parameters of ``bce``."""
    config = StudyConfig.model_validate(
        {
            "base": {"epochs": EPOCHS, "data": {"name": "digits", "observation": "single_positive"}},
            "search_space": {"optim.lr": RANGE, "optim.weight_decay": RANGE},
            "sampler": {"name": sampler},
            "pruner": {"name": pruner},
            "n_trials": n_trials,
        }
    )
    return Study(name, config, build_space(config.search_space, config.base, make_config(config.base)), ())


class Trials:
    """A study that is asked, reported to and told, without training.

    Args:
        folder: where its ledger lies.
        study: the study.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        where = StudyFolder(folder)
        where.path.mkdir(parents=True)
        self.ledger = Ledger(study, where, str(where.journal), study.budget())

    def one(self) -> float:
        """Return the seconds of everything that the driver asks of the ledger for one trial."""
        began = time.perf_counter()
        [asked] = self.ledger.ask_many(1)
        for epoch, value in curve(asked.trial.number):
            self.ledger.report(asked.trial, [(epoch, value)])
            asked.trial.should_prune()  # asked, not obeyed: all trials cost the same
        self.ledger.tell_complete(asked.trial, value)
        self.ledger.note(asked.key, delivered=True)
        return time.perf_counter() - began


def ledger_results(folder: Path, sampler: str, pruner: str, last: int) -> list[Figure]:
    """Return the cost of a trial early in a study, against Optuna's back end, and late, against early."""
    study = make_study(f"{sampler}-{pruner}", sampler, pruner, last)
    late, early = Trials(folder / study.name / "late", study), Trials(folder / study.name / "early", study)
    stock = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(folder / f"{study.name}.log"))))
    for _ in range(last - WINDOW - 1):
        late.one()
    for _ in range(100 - WINDOW - 1):
        early.one()
    turns = take_turns({"early": early.one, "late": late.one, "stock": lambda: stock_trial(stock)}, rounds=WINDOW)
    times = {name: [1e3 * value for value in values] for name, values in turns.items()}
    label = f"ledger, a trial, {sampler}, pruner {pruner}"
    return [
        compared(
            f"{label}, at trial 100",
            "ms",
            times["early"],
            "its records in Optuna's own back end",
            times["stock"],
            smaller_is_better=True,
        ),
        compared(
            f"{label}, at trial {last:,}", "ms", times["late"], "at trial 100", times["early"], smaller_is_better=True
        ),
    ]


def curve(number: int) -> list[tuple[int, float]]:
    """Return a trial's running bests, spread over trials as if drawn."""
    level = 50 * math.modf(number * 0.618)[0]
    return [(epoch, level + epoch) for epoch in range(EPOCHS)]


def stock_trial(study: optuna.Study) -> float:
    """Return the seconds of the same number of records through Optuna's own back end, draws at random."""
    study.sampler = optuna.samplers.RandomSampler(seed=len(study.get_trials(deepcopy=False)))
    began = time.perf_counter()
    trial = study.ask()
    for name in ("a", "b"):
        trial.suggest_float(name, 1e-5, 1e-1, log=True)
    for name in ("values", "fingerprint", "attempt", "key"):
        trial.set_user_attr(name, name)
    for epoch, value in curve(trial.number):
        trial.report(value, epoch)
    study.tell(trial, value)
    study.set_user_attr("note", True)
    return time.perf_counter() - began


def delivery_results(folder: Path, rounds: int) -> list[Figure]:
    """Return the cost of a run written to a SQLite store whole, against one call an epoch."""
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = Tracker(uri, timeout_s=120.0)
    experiment = tracker.open_experiment("benchmark")
    params = make_config({}).flat()

    def reports() -> list[EpochReport]:
        figures = [f"val/figure_{place}" for place in range(FIGURES)]
        return [EpochReport(epoch, dict.fromkeys(figures, float(epoch)), time.time()) for epoch in range(EPOCHS)]

    def whole() -> None:
        run = tracker.create_run(experiment, "whole", params={}, tags={"plml.kind": "trial"})
        tracker.write_run(run, reports=reports(), params=params, tags={"plml.state": "x"}, status="FINISHED")

    def by_epoch() -> None:
        run = tracker.create_run(experiment, "epochs", params=params, tags={"plml.kind": "trial"})
        pen = RunLogger(uri, run, timeout_s=120.0)
        for report in reports():
            pen.log(report)
        tracker.end_run(run, "FINISHED", {"plml.state": "x"})

    turns = take_turns(
        {"whole": lambda: 1e3 * seconds(whole), "epochs": lambda: 1e3 * seconds(by_epoch)}, rounds=rounds
    )
    what = f"MLflow on SQLite, a run of {EPOCHS} epochs, whole"
    return [compared(what, "ms", turns["whole"], "one call an epoch", turns["epochs"], smaller_is_better=True)]


if __name__ == "__main__":
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    main()
