"""A small finished study, trained for real through the ledger, without Ray."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from tune.folders import StudyFolder
from tune.ledger import Ledger
from tune.study import load_study
from tune.trainable import Task, TrialReport, run_task

SHORT_STUDY: dict[str, Any] = {
    "base": {
        "epochs": 2,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 160, "num_val": 60, "num_test": 80},
        },
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "method.lr_mult": {"type": "float", "low": 1.0, "high": 30.0, "log": True, "when": {"method.name": "role"}},
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
        "optim.weight_decay": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True, "or_zero": True},
        "optim.batch_size": {"type": "categorical", "choices": [16, 32]},
    },
    "sampler": {"name": "random", "seed": 1},
    "n_trials": 8,
    "points": [
        {"method.name": "an", "optim.lr": 3e-3, "optim.weight_decay": 0, "optim.batch_size": 16},
        {
            "method.name": "role",
            "method.lr_mult": 5.0,
            "optim.lr": 3e-3,
            "optim.weight_decay": 1e-4,
            "optim.batch_size": 16,
        },
    ],
}


class StoppedError(Exception):
    """The scheduler stops a trial inside its report."""


def train_study(folder: Path, tree: dict[str, Any], *, stop: int, fail: int) -> Ledger:
    """Run every trial of a study; trial ``stop`` is pruned after its first epoch, trial ``fail`` fails."""
    folder.mkdir(parents=True)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(tree))
    study = load_study(file)
    ledger = Ledger(study, StudyFolder(folder), str(folder / "optuna.log"), study.budget())
    while (asked := ledger.ask()) is not None:
        if asked.trial.number == fail:
            ledger.tell_failed(asked.trial, "OSError: injected")
            continue
        told: list[TrialReport] = []

        def report(one: TrialReport, number: int = asked.trial.number, told: list[TrialReport] = told) -> None:
            told.append(one)
            if number == stop:
                raise StoppedError

        config = study.space.resolve(asked.values)
        task = Task(
            config.tree(),
            str(ledger.folder.trial(asked.key)),
            seeds=tuple(study.config.seeds or ()),
            keep_epochs=study.config.track.checkpoints == "every_epoch",
        )
        with contextlib.suppress(StoppedError):
            run_task(task, report)
        ledger.report(asked.trial, [(one.epoch, one.objective) for one in told if one.objective is not None])
        if asked.trial.number == stop:
            ledger.tell_pruned(asked.trial)
        else:
            assert told[-1].outcome == "complete", told[-1]
            ledger.tell_complete(asked.trial, told[-1].objective or 0.0)
    return ledger


@pytest.fixture(scope="session")
def trained_study() -> Callable[..., Ledger]:
    """Train a study of the test's own; see :func:`train_study`."""
    return train_study


@pytest.fixture(scope="session")
def short_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[optuna.Study, Path]:
    """Eight trials of two methods; number 4 was pruned, number 5 failed. Copy the folder before writing to it."""
    folder = tmp_path_factory.mktemp("studies") / "short"
    return train_study(folder, SHORT_STUDY, stop=4, fail=5).optuna, folder
