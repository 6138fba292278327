"""What a grid has to train: which searches are open, which runs are known, and which of them are done."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from optuna.trial import FrozenTrial

from ablations.grid import Cell, Grid, with_seeds
from ablations.search import CellSearch, Searched, cell_search
from ablations.store import Store, adopt, finished_reports
from plml.config import TrainConfig
from tune.run_queue import PlannedRun


@dataclass(frozen=True)
class CellRun:
    """One training of a cell.

    Attributes:
        cell: the cell.
        seed: training seed.
        label_draw: observation seed.
        planned: the training itself, as the queue takes it.
    """

    cell: Cell
    seed: int
    label_draw: int
    planned: PlannedRun

    @cached_property
    def finished(self) -> bool:
        """Whether it had trained to its end, for this grid or another one, when this was asked first."""
        return finished_reports(self.planned.folder) is not None


@dataclass(frozen=True)
class CellPlan:
    """A cell with its search and, once that has ended, its runs.

    Attributes:
        place: of the cell in the grid, from 0.
        cell: the cell.
        search: its search as far as it is, or None.
        runs: its runs; empty until the configuration is known.
        planned: how many runs it is to have.
    """

    place: int
    cell: Cell
    search: Searched | None
    runs: tuple[CellRun, ...]
    planned: int

    @property
    def waits(self) -> bool:
        """Whether its search is still to be made."""
        return self.search is not None and not self.search.ended

    @property
    def barren(self) -> bool:
        """Whether its search has ended and found nothing that can be trained."""
        return self.search is not None and self.search.ended and not self.runs

    @property
    def tried(self) -> Sequence[FrozenTrial]:
        """The trials of its search so far."""
        return self.search.trials if self.search is not None else ()


def plan_cells(grid: Grid, store: Store) -> list[CellPlan]:
    """Return every cell with its search and the runs that are known.

    Raises:
        ConfigError: the search of a cell is wrong.
    """
    plans = []
    for place, cell in enumerate(grid.cells):
        search = cell_search(grid, cell, store)
        searched = search.read() if search is not None else None
        known = searched is None or searched.ended
        runs = runs_of(grid, store, place, cell, searched) if known else ()
        plans.append(CellPlan(place, cell, searched, runs, len(grid.repeats(cell))))
    return plans


def runs_of(grid: Grid, store: Store, place: int, cell: Cell, searched: Searched | None) -> tuple[CellRun, ...]:
    """Return the runs of a cell; none if its search has found nothing that can be trained.

    The chosen trial of a search is itself the run with its seeds, and is not trained again.
    """
    config = cell.config
    if searched is not None:
        chosen = searched.chosen()
        if chosen is None:
            return ()
        _, config, trained = chosen
        adopt(trained, store.run(config))
    runs = []
    for seed, draw in grid.repeats(cell):
        own = with_seeds(config, seed, draw)
        values = {"cell": cell.label, "seed": seed, "labels": draw}
        runs.append(CellRun(cell, seed, draw, PlannedRun(f"{place}.{draw}.{seed}", values, own, store.run(own))))
    return tuple(runs)


def missing_runs(plans: Sequence[CellPlan]) -> list[CellRun]:
    """Return the runs that are known and not finished, one seed of every cell after the other."""
    waiting = [run for plan in plans for run in plan.runs if not run.finished]
    order = {repeat: place for place, repeat in enumerate(dict.fromkeys((r.label_draw, r.seed) for r in waiting))}
    return sorted(waiting, key=lambda run: order[run.label_draw, run.seed])


def open_searches(plans: Sequence[CellPlan]) -> dict[int, CellSearch]:
    """Return the searches that have not ended, by the cell's place."""
    return {plan.place: plan.search.search for plan in plans if plan.search is not None and plan.waits}


def data_configs(grid: Grid) -> list[tuple[TrainConfig, set[str]]]:
    """Return a configuration for each set of examples and labels that cells train on, and the methods that do."""
    found: dict[str, tuple[TrainConfig, set[str]]] = {}
    for cell in grid.cells:
        config = cell.config
        features = None if config.mode == "end_to_end" else [config.model.backbone, config.model.weights]
        _, methods = found.setdefault(repr([config.mode, config.data, features]), (config, set()))
        methods.add(config.method["name"])
    return list(found.values())


def run_folders(plans: Sequence[CellPlan]) -> list[Path]:
    """Return the folders of all finished runs of the grid."""
    return [run.planned.folder for plan in plans for run in plan.runs if run.finished]
