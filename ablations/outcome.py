"""What a grid of trainings found: its cells, their runs and the trials that tuned them. Statistics read this only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunOutcome:
    """One training of a cell's configuration.

    Attributes:
        seed: of initialisation and batches.
        label_draw: seed of the draw of observed labels.
        fingerprint: of the run's configuration.
        folder: the run's folder; ``scores/test.npy`` and ``scores/test_labels.npy`` are read where they exist.
        metrics: figures of the chosen epoch, in percent: ``test/mAP``, ``val/mAP``, ``selection/best``, ...
        best_epoch: the chosen epoch.
        class_ap: test AP of each class in percent, None for a class without positives.
    """

    seed: int
    label_draw: int
    fingerprint: str
    folder: Path
    metrics: Mapping[str, float]
    best_epoch: int
    class_ap: tuple[float | None, ...] = ()

    @property
    def pair(self) -> tuple[int, int]:
        """What runs of different cells are paired by: (seed, label draw)."""
        return self.seed, self.label_draw


@dataclass(frozen=True)
class TrialOutcome:
    """One trial of the search that a cell made for itself.

    Attributes:
        key: its name.
        objective: what the search chooses by, larger is better; None if it never got so far.
        test_map: its test mAP in percent, if it was scored.
        complete: it trained to its end; others are never chosen.
    """

    key: str
    objective: float | None
    test_map: float | None
    complete: bool


@dataclass(frozen=True)
class CellOutcome:
    """One combination of the factors' levels.

    Attributes:
        label: its name in tables.
        levels: factor -> level, as shown.
        runs: the finished ones.
        trials: of the cell's own search, in the order they were tried.
        planned: how many runs were asked for.
        values: what was tuned, dotted path -> value.
        drawn: its observed labels depend on the label draw. Where they do not, as with all labels known, one run of a
            seed stands for every draw and is paired with each of the baseline's.
    """

    label: str
    levels: Mapping[str, str]
    runs: tuple[RunOutcome, ...]
    planned: int
    trials: tuple[TrialOutcome, ...] = ()
    values: Mapping[str, Any] | None = None
    drawn: bool = True

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for is there."""
        return len(self.runs) >= self.planned


@dataclass(frozen=True)
class GridOutcome:
    """A grid and what is known of it so far.

    Attributes:
        name: of the grid.
        description: one sentence.
        factors: names, in the order of the file.
        cells: in the order of the design.
        baseline: label of the cell that others are compared with.
        metric: the figure that is compared, in percent, larger is better.
        selected_by: what chose epochs and trials, in words: "map on observed labels".
        clean: that used labels which the label setting does not have.
        class_names: of the test classes, L of them.
        trials_per_cell: budget of each cell's own search, None without searches.
        blocks: factor whose levels are data sets or settings; cells are compared within them and ranked across.
        columns: factor whose levels become the columns of the paper's table.
    """

    name: str
    description: str
    factors: tuple[str, ...]
    cells: tuple[CellOutcome, ...]
    baseline: str | None
    selected_by: str
    clean: bool
    class_names: tuple[str, ...]
    metric: str = "test/mAP"
    trials_per_cell: int | None = None
    blocks: str | None = None
    columns: str | None = None

    def block_of(self, cell: CellOutcome) -> str:
        """Return the level of the cell's block, "" where the grid has no blocks."""
        return cell.levels[self.blocks] if self.blocks else ""

    def treatment_of(self, cell: CellOutcome) -> tuple[str, ...]:
        """Return the cell's levels without its block's: what is ranked across blocks."""
        return tuple(cell.levels[name] for name in self.factors if name != self.blocks and name in cell.levels)

    def baseline_of(self, cell: CellOutcome) -> CellOutcome | None:
        """Return the cell that this one is compared with: the baseline's levels in this cell's own block."""
        named = next((other for other in self.cells if other.label == self.baseline), None)
        if named is None or not self.blocks:
            return named
        block, treatment = self.block_of(cell), self.treatment_of(named)
        return next((o for o in self.cells if self.block_of(o) == block and self.treatment_of(o) == treatment), None)


def paired_runs(cell: CellOutcome, baseline: CellOutcome) -> list[tuple[tuple[int, int], RunOutcome, RunOutcome]]:
    """Return what two cells are compared by: (seed, label draw), the cell's run, the baseline's run, in their order.

    A run of a cell that is not drawn is paired with the run of the same seed and every draw.
    """
    if cell.drawn == baseline.drawn:
        theirs = {run.pair: run for run in baseline.runs}
        found = [(run.pair, run, theirs[run.pair]) for run in cell.runs if run.pair in theirs]
    elif cell.drawn:
        by_seed = {run.seed: run for run in baseline.runs}
        found = [(run.pair, run, by_seed[run.seed]) for run in cell.runs if run.seed in by_seed]
    else:
        found = [(pair, mine, other) for pair, other, mine in paired_runs(baseline, cell)]
    return sorted(found, key=lambda entry: entry[0])
