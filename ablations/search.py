"""The search that a cell makes for itself: a small study whose best configuration the cell is judged by.

Every cell has the same number of trials. They are chosen by validation figures only, so a cell may be tuned and
compared on the same test images.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablations.grid import Cell, Grid, with_seeds
from ablations.grid_file import TuningConfig
from ablations.outcome import TrialOutcome
from ablations.store import Store, finished_reports
from plml.checkpoint import write_text
from plml.config import TrainConfig
from plml.errors import ConfigError
from tune.folders import StudyFolder
from tune.lease import holding
from tune.ledger import EXHAUSTED, Ledger
from tune.records import counted_trials, open_study
from tune.stopping import Stopper
from tune.study import Study, make_study
from tune.study_file import StudyConfig


@dataclass(frozen=True, eq=False)
class CellSearch:
    """A cell's study.

    Attributes:
        cell: the cell.
        study: what is searched.
        folder: where; the same for every grid with such a cell.
        n_trials: the budget.
    """

    cell: Cell
    study: Study
    folder: StudyFolder
    n_trials: int

    def read(self) -> "Searched":
        """Return how far it is."""
        return self.of(open_study(self.folder)) if self.folder.storage_file.is_file() else Searched(self, (), False)

    def of(self, ledger: optuna.Study) -> "Searched":
        """Return how far it is, given its ledger; trials beyond the budget belong to grids with a larger one."""
        exhausted = ledger.user_attrs.get(EXHAUSTED, 0) >= self.n_trials
        return Searched(self, tuple(counted_trials(ledger)[: self.n_trials]), exhausted)


@dataclass(frozen=True, eq=False)
class Searched:
    """How far a cell's search is.

    Attributes:
        search: the search.
        trials: those of its budget, in their order.
        exhausted: the space holds no further ones.
    """

    search: CellSearch
    trials: tuple[FrozenTrial, ...]
    exhausted: bool

    @property
    def ended(self) -> bool:
        """Whether every trial of the budget has ended."""
        budget = min(self.search.n_trials, self.search.study.budget())
        full = len(self.trials) >= budget or (self.exhausted and bool(self.trials))
        return full and all(trial.state.is_finished() for trial in self.trials)

    def best(self) -> FrozenTrial | None:
        """Return the complete trial with the best objective; the earlier one of equals."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (float(trial.value or 0.0), -trial.number), default=None)

    def chosen(self) -> tuple[dict[str, Any], TrainConfig, Path] | None:
        """Return what was tuned, ``{path: value}``, the configuration and its run; None if no trial is complete."""
        best = self.best()
        if best is None:
            return None
        values: dict[str, Any] = best.user_attrs["values"]
        folder = self.search.folder.trial(best.user_attrs["key"])
        return values, self.search.study.space.resolve(values), folder

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """Return the trials with what they reached."""
        return tuple(map(self._outcome, self.trials))

    def _outcome(self, trial: FrozenTrial) -> TrialOutcome:
        key = str(trial.user_attrs["key"])
        reports = finished_reports(self.search.folder.trial(key))
        complete = trial.state == TrialState.COMPLETE
        objective = trial.value if complete else max(trial.intermediate_values.values(), default=None)
        return TrialOutcome(key, objective, reports[-1].metrics.get("test/mAP") if reports else None, complete)


@contextmanager
def open_ledger(
    search: CellSearch, storage: str | None, stopper: Stopper, say: Callable[[str], None]
) -> Iterator[Ledger]:
    """Open a search for trials to be asked and told, as its only driver: grids with such a cell share it.

    Raises:
        ConfigError: the storage cannot be opened, or holds another study of this name.
        StudyHeldError: another grid drives it.
    """
    where, mode = search.folder.storage(storage), search.study.config.objective.mode
    ledger: Ledger | None = None

    def lost(why: str) -> None:
        if ledger is not None:
            ledger.disown(why)
        stopper.lose(why)

    with search.folder.hold(), holding(search.study.name, search.folder, where, mode, lost):
        budget = min(search.n_trials, search.study.budget())
        hurry = lambda: stopper.at_once  # noqa: E731
        ledger = Ledger(search.study, search.folder, where, budget, say=say, hurry=hurry)
        write_text(search.folder.storage_file, where + "\n")
        ledger.reconcile()
        ledger.sign_code()
        yield ledger


def cell_search(grid: Grid, cell: Cell, store: Store) -> CellSearch | None:
    """Return the search of a cell; None if nothing of the search space belongs to it.

    Raises:
        ConfigError: the search space or a point is wrong.
    """
    tuning = grid.config.tune_per_cell
    if tuning is None:
        return None
    seed = grid.config.seeds[0] if tuning.seed is None else tuning.seed
    draw = grid.config.label_draws[0] if tuning.label_draw is None else tuning.label_draw
    config = with_seeds(cell.config, seed, draw)
    space = own_part(tuning.search_space, config)
    if not space:
        return None
    try:
        study = make_study("cell", _study_config(grid, tuning, config, space))
    except ConfigError as error:
        raise ConfigError(f"tune_per_cell: cell '{cell.label}': {error}") from None
    spec = {
        **study.spec(),
        "sampler": tuning.sampler.model_dump(),
        "pruner": tuning.pruner.model_dump(),
        "points": study.config.points,
        "files": [cell.config.data.root, cell.config.model.weights],
    }
    folder = store.study(spec)
    return CellSearch(cell, _renamed(study, folder.name), folder, tuning.n_trials)


def _study_config(grid: Grid, tuning: TuningConfig, config: TrainConfig, space: dict[str, Any]) -> StudyConfig:
    return StudyConfig(
        description=f"the search of a cell of the grid {grid.name}",
        base=config.tree(),
        search_space=space,
        sampler=tuning.sampler,
        pruner=tuning.pruner,
        n_trials=tuning.n_trials,
        points=[point for point in tuning.points if set(point) <= set(space)],
        resources=grid.config.resources,
    )


def _renamed(study: Study, name: str) -> Study:
    return Study(name, study.config, study.space, study.points)


def own_part(search_space: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """Return the ranges whose conditions on what the cell has fixed hold, without those conditions.

    A method's hyperparameters are searched in cells of that method, because a range may say
    ``when: {method.name: role}``.
    """
    fixed = config.flat()
    own: dict[str, Any] = {}
    for path, entry in search_space.items():
        kept = []
        for span in entry if isinstance(entry, list) else [entry]:
            when = span.get("when", {}) if isinstance(span, Mapping) else {}
            open_conditions = {other: allowed for other, allowed in when.items() if other in search_space}
            decided = {other: allowed for other, allowed in when.items() if other not in search_space}
            if all(_holds(fixed.get(other), allowed) for other, allowed in decided.items()):
                rest = {key: value for key, value in span.items() if key != "when"} if when else span
                kept.append({**rest, "when": open_conditions} if open_conditions else rest)
        if kept:
            own[path] = kept if len(kept) > 1 else kept[0]
    return own


def _holds(value: Any, allowed: Any) -> bool:
    return value in allowed if isinstance(allowed, list) else value == allowed
