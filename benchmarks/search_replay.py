"""Replay a search on a table of recorded trials: real samplers and pruners, no training.

What is replayed is what a study of linear trials does (``tune/searcher.py`` with one worker): a crew is drawn before
any of its members is known; all members train an epoch; their running bests are reported; complete ones and those that
the pruner stops leave; new draws take their places. Samplers and pruners are those that ``tune.samplers`` builds, and
prior knowledge enters as in ``tune.warm_start``. A draw of a known cell becomes the unknown one nearest to it: in a
continuous range a sampler that returns to a good place finds a neighbour of what it knows, hardly ever the same point.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from benchmarks.trial_table import Cell, TrialTable
from tune.patience import PatiencePruner
from tune.pruning import KnownMedianPruner
from tune.samplers import build_pruner, build_sampler
from tune.study_file import PrunerConfig, SamplerConfig
from tune.warm_start import FINISHED, InformedSampler, quantiles_of


@dataclass(frozen=True)
class Search:
    """How a table is searched.

    Attributes:
        sampler: name, seed and random trials at the start.
        pruner: what stops trials.
        crew: trials that are trained at once.
        budget: epochs of training; the search ends when they are used up.
        objective: the curve that is searched, ``clean`` or ``observed``.
    """

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    crew: int = 1
    budget: int = 1280
    objective: str = "clean"


@dataclass(frozen=True)
class Trace:
    """What a search had found, after each epoch of its crew.

    Attributes:
        epochs: epochs of training so far, all trials together.
        training: processor seconds of them, with the table's cost of populations.
        drawing: processor seconds of the sampler; measured, so not the same from run to run.
        best: best value of the objective so far, percent.
        test: test mAP of the trial and epoch that has it, percent.
        trials: trials that were begun.
    """

    epochs: NDArray[np.int64]
    training: NDArray[np.float64]
    drawing: NDArray[np.float64]
    best: NDArray[np.float64]
    test: NDArray[np.float64]
    trials: int

    def at(self, budget: float, of: str = "best", *, axis: str = "epochs") -> float:
        """Return what was reached with ``budget`` of ``epochs`` or ``seconds``; NaN before the first report."""
        place = int(np.searchsorted(self.axis(axis), budget, side="right")) - 1
        return float(getattr(self, of)[place]) if place >= 0 else float("nan")

    def needed(self, value: float, *, axis: str = "epochs") -> float:
        """Return the compute after which the best is at least ``value``; infinite if it never is."""
        reached = np.flatnonzero(self.best >= value)
        return float(self.axis(axis)[reached[0]]) if len(reached) else float("inf")

    def axis(self, name: str) -> NDArray[Any]:
        """Return the compute used: ``epochs``, or ``seconds`` of training and drawing."""
        return self.epochs if name == "epochs" else self.training + self.drawing


@dataclass
class _Live:
    """A trial in the crew."""

    trial: Trial
    cell: Cell
    row: int
    epoch: int = 0
    best: float = -np.inf


class Replay:
    """One search.

    Args:
        table: the trials there are.
        search: how it is searched.
        prior: trials of another search that the sampler is shown, see :func:`learnt`.

    Attributes:
        study: the search's own trials.
    """

    def __init__(self, table: TrialTable, search: Search, prior: Sequence[FrozenTrial] = ()) -> None:
        self.table, self.search, self.prior = table, search, prior
        self.values = table.curves[search.objective]
        self.study = optuna.create_study(
            direction="maximize", pruner=build_pruner(search.pruner, table.epochs), storage=None
        )
        outer = self.study.pruner
        pruner = outer.wrapped if isinstance(outer, PatiencePruner) else outer
        self._learning = pruner if isinstance(pruner, KnownMedianPruner) else None
        self.places = np.array([_places(table, cell) for cell in table.cells])
        self.unknown = np.ones(len(table.cells), dtype=bool)
        self.live: list[_Live] = []
        self.drawing = 0.0

    def run(self) -> Trace:
        """Search until the budget is used up, or everything is known."""
        epochs, training, best, test = 0, 0.0, -np.inf, np.nan
        steps: list[tuple[float, ...]] = []
        self._fill()
        while self.live:
            members = list(self.live)
            training += self._cost(members)
            for live in members:  # everybody's report is in before the pruner is asked about anybody
                value = float(self.values[live.row, live.epoch])
                if value > best:
                    best, test = value, float(self.table.curves["test"][live.row, live.epoch])
                live.epoch += 1
                live.best = max(live.best, value)
                live.trial.report(live.best, live.epoch)
            epochs += len(members)
            steps.append((epochs, training, self.drawing, best, test))
            if epochs >= self.search.budget:
                break
            for live in members:
                if live.epoch == self.table.epochs:
                    self._end(live, TrialState.COMPLETE)
                elif live.trial.should_prune():
                    self._end(live, TrialState.PRUNED)
            self._fill()
        spent, *columns = np.array(steps, dtype=np.float64).T
        return Trace(spent.astype(np.int64), *columns, int((~self.unknown).sum()))  # type: ignore[call-arg]

    def _cost(self, members: Sequence[_Live]) -> float:
        """Processor seconds of an epoch: trials of one method and batch size are one population."""
        kinds = Counter((live.cell[0], live.cell[2]) for live in members)
        return sum(self.table.seconds(*kind, count) for kind, count in kinds.items())

    def _fill(self) -> None:
        """Draw trials until the crew is full or every cell is known."""
        began = time.thread_time()
        while len(self.live) < self.search.crew and self.unknown.any():
            trial = self._ask()
            row = self.table.rows[suggest(trial, self.table)]
            if not self.unknown[row]:
                self.study.tell(trial, state=TrialState.FAIL)  # samplers take no notice of it
                row = self._nearest(row)
                self.study.enqueue_trial(parameters(self.table, self.table.cells[row]))
                trial = self._ask()
                suggest(trial, self.table)
            self.unknown[row] = False
            self.live.append(_Live(trial, self.table.cells[row], row))
        self.drawing += time.thread_time() - began

    def _ask(self) -> Trial:
        number = len(self.study.get_trials(deepcopy=False))
        sampler = build_sampler(self.search.sampler, number, conditional=len(self.table.grids) > 1)
        self.study.sampler = InformedSampler(sampler, self.prior) if self.prior else sampler
        return self.study.ask()

    def _nearest(self, row: int) -> int:
        """The unknown cell fewest steps away; another method is further than any step within one."""
        steps = np.abs(self.places - self.places[row]).sum(axis=1)
        return int(np.where(self.unknown, steps, np.iinfo(np.int64).max).argmin())

    def _end(self, live: _Live, state: TrialState) -> None:
        self.live.remove(live)
        told = self.study.tell(live.trial, live.best if state == TrialState.COMPLETE else None, state=state)
        if self._learning is not None:
            self._learning.learn(told)


def _places(table: TrialTable, cell: Cell) -> list[int]:
    """A cell as whole numbers, one step apart where values are neighbours; methods lie far apart."""
    method, rate, batch, *own = cell
    longest = max(len(grid) for grid in table.grids.values())
    return [
        100 * list(table.grids).index(method),
        rate,
        list(table.batches).index(batch),
        *own,
        *[0] * (longest - len(own)),
    ]


def parameters(table: TrialTable, cell: Cell) -> dict[str, Any]:
    """Return the parameters for which :func:`suggest` gives ``cell``."""
    method, rate, batch, *own = cell
    found = {"optim.lr": rate, "optim.batch_size": batch}
    found |= {f"method.{name} ({method})": place for name, place in zip(table.grids[method], own, strict=True)}
    return {"method.name": method, **found} if len(table.grids) > 1 else found


def suggest(trial: Trial, table: TrialTable) -> Cell:
    """Ask for a cell: ordered values by their place, so that a sampler sees a log scale as one."""
    methods = list(table.grids)
    method = trial.suggest_categorical("method.name", methods) if len(methods) > 1 else methods[0]
    rate = trial.suggest_int("optim.lr", 0, len(table.rates) - 1)
    batch = trial.suggest_categorical("optim.batch_size", list(table.batches))
    own = [
        trial.suggest_int(f"method.{name} ({method})", 0, len(values) - 1)
        for name, values in table.grids[method].items()
    ]
    return (method, rate, batch, *own)


def learnt(study: Study) -> list[FrozenTrial]:
    """Return a search's finished trials as another one's sampler is to see them: quantiles for values."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state in FINISHED]
    quantiles = quantiles_of(finished)
    shown = []
    for place, trial in enumerate(finished):
        quantile = quantiles.get(trial.number)
        complete = trial.state == TrialState.COMPLETE
        distributions: dict[str, BaseDistribution] = trial.distributions
        copy = create_trial(
            state=trial.state,
            value=quantile,
            params=trial.params,
            distributions=distributions,
            intermediate_values={} if complete or quantile is None else {trial.last_step or 1: quantile},
        )
        copy.number = place - len(finished)
        shown.append(copy)
    return shown
