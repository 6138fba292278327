"""A driver of a study with the real ledger, searcher and scheduler; the test plays Ray's part."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.tune.schedulers import TrialScheduler

from tune.folders import StudyFolder
from tune.ledger import Ledger
from tune.records import state_of
from tune.scheduler import PrunerScheduler
from tune.searcher import LedgerSearcher
from tune.stopping import Stopper
from tune.study import load_study
from tune.trainable import Task, TrialReport
from tune.trial_runs import TrialRuns

STUDY: dict[str, Any] = {
    "base": {"epochs": 8, "data": {"name": "digits", "observation": "single_positive"}, "method": "an"},
    "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "n_trials": 4,
}


class Notebook:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None:
        self.lines.append(("began", key, attempt))

    def reported(self, key: str, epoch: int, objective: float) -> None:
        self.lines.append(("reported", key, epoch, objective))

    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
        self.lines.append(("ended", key, state, detail))


class Driver:
    """A driver of a study: the real ledger and searcher, and Ray's part played by the test."""

    def __init__(self, folder: Path, n_trials: int = 4, **changes: Any) -> None:
        file = folder / "mine.yaml"
        file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
        study = load_study(file)
        where = StudyFolder(folder / study.name)
        where.path.mkdir(exist_ok=True)
        self.ledger = Ledger(study, where, str(where.journal), n_trials)
        self.reconciled = self.ledger.reconcile()
        self.stopper = Stopper()
        self.notes = Notebook()
        runs = TrialRuns(None, self.ledger, warn=pytest.fail)
        self.searcher = LedgerSearcher(self.ledger, runs, self.notes, gpu=0.0, stopper=self.stopper)
        self.scheduler = PrunerScheduler(self.searcher, self.stopper)
        self.asked = 0

    def suggest(self) -> tuple[str, Task]:
        self.asked += 1
        slot = f"slot{self.asked}"
        suggested = self.searcher.suggest(slot)
        assert isinstance(suggested, dict)
        return slot, Task(**suggested["task"])

    def report(self, slot: str, **told: Any) -> bool:
        """Pass a report as Tune does; return whether the scheduler stops the trial."""
        trial = type("RayTrial", (), {"trial_id": slot})()
        result = {**asdict(TrialReport(**told)), "training_iteration": 1, "trial_id": slot}
        stopped: bool = self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP  # type: ignore[arg-type]
        if not stopped:
            self.searcher.on_trial_result(slot, result)
        return stopped

    def train(self, slot: str, curve: list[float], start: int = 0) -> bool:
        """Report a curve of running bests from epoch ``start`` on; return whether it was stopped."""
        for epoch, value in enumerate(curve[start:], start=start):
            outcome = "complete" if epoch == len(curve) - 1 else "running"
            if self.report(slot, outcome=outcome, epoch=epoch, objective=value):
                self.searcher.on_trial_complete(slot, {})
                return True
        self.searcher.on_trial_complete(slot, {})
        return False

    @property
    def states(self) -> dict[str, str]:
        return {trial.user_attrs["key"]: state_of(trial) for trial in self.ledger.trials()}
