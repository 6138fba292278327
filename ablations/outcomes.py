"""From the store to what the statistics read: every figure comes from the run folders, none is kept twice."""

import json
from collections.abc import Sequence
from typing import Any

from ablations.grid import Grid
from ablations.outcome import CellOutcome, GridOutcome, RunOutcome
from ablations.plan import CellPlan, CellRun
from ablations.store import finished_reports


def read_outcome(grid: Grid, plans: Sequence[CellPlan]) -> GridOutcome:
    """Return the grid with everything that has been trained so far."""
    results = {run.planned.key: _read(run) for plan in plans for run in plan.runs}
    cells = []
    class_names: tuple[str, ...] = ()
    for plan in plans:
        found = [results[run.planned.key] for run in plan.runs]
        chosen = plan.search.chosen() if plan.search is not None and not plan.waits else None
        for _, names in filter(None, found):
            class_names = class_names or names
        cells.append(
            CellOutcome(
                label=plan.cell.label,
                levels={name: level.name for name, level in plan.cell.levels.items()},
                runs=tuple(outcome for outcome, _ in filter(None, found)),
                planned=plan.planned,
                drawn=plan.cell.draws_labels,
                trials=plan.search.outcomes() if plan.search is not None else (),
                values=chosen[0] if chosen is not None else None,
            )
        )
    tuning = grid.config.tune_per_cell
    return GridOutcome(
        name=grid.name,
        description=grid.config.description,
        factors=tuple(grid.factors),
        cells=tuple(cells),
        baseline=grid.baseline.label,
        selected_by=selected_by(grid),
        clean=any(cell.config.selection.labels == "clean" for cell in grid.cells),
        class_names=class_names,
        metric=grid.config.metric,
        trials_per_cell=tuning.n_trials if tuning is not None else None,
        blocks=grid.config.blocks,
        columns=grid.config.columns,
    )


def selected_by(grid: Grid) -> str:
    """Return what chose epochs and tuned configurations, in words; all ways where cells differ."""
    return " / ".join(dict.fromkeys(cell.config.selected_by for cell in grid.cells))


def _read(run: CellRun) -> tuple[RunOutcome, tuple[str, ...]] | None:
    """The outcome of a run and its class names; None while it is not finished."""
    folder = run.planned.folder
    reports = finished_reports(folder)
    if reports is None:
        return None
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    epoch = int(result["best_epoch"])
    chosen = next(report for report in reports if report.epoch == epoch)
    # Of the chosen epoch; the test figures came with the last one.
    own = {name: value for name, value in chosen.metrics.items() if name.startswith(("val", "selection/", "train/"))}
    metrics = {**own, **{name: value for name, value in reports[-1].metrics.items() if name.startswith("test/")}}
    outcome = RunOutcome(
        seed=run.seed,
        label_draw=run.label_draw,
        fingerprint=run.planned.config.fingerprint,
        folder=folder,
        metrics={**metrics, "selection/best": reports[-1].metrics["selection/best"]},
        best_epoch=epoch,
        class_ap=tuple(result["per_class"]["test/AP"]),
    )
    return outcome, tuple(result["class_names"])
