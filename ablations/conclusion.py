"""The end of a launch: statistics, tables and figures from what is stored; MLflow told; the links printed."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from ablations.grid import Grid
from ablations.grid_runs import GridRuns
from ablations.outcomes import read_outcome
from ablations.plan import CellPlan
from ablations.report import write_summary
from ablations.summary import CellSummary, GridSummary, summarise
from ablations.terminal_table import render
from ablations.wording import conclusion
from plml.terminal import Terminal
from tune.folders import StudyFolder

COMPARED = 5  # best cells that the compare link shows beside the baseline


def conclude(grid: Grid, plans: Sequence[CellPlan], folder: StudyFolder, runs: GridRuns, terminal: Terminal) -> None:
    """Compute, print, write and tell MLflow what the grid has found so far."""
    outcome = read_outcome(grid, plans)
    if not any(cell.runs for cell in outcome.cells):
        runs.drain()
        return
    with terminal.status("computing statistics ..."):
        summary = summarise(outcome, test=grid.config.test)
    terminal.print(render(summary))
    with terminal.status("drawing figures ...") as status:
        files = write_summary(summary, folder.path)
        if grid.config.criteria:
            status.update("comparing selection criteria ...")
            from ablations.criteria import write_criteria

            files += write_criteria(plans, folder.path, terminal)
        runs.deliver(plans, lambda left: status.update(f"delivering to MLflow, {left} runs left ..."))
        status.update("delivering tables and figures to MLflow ...")
        _tell(plans, summary, files, folder.path, runs)
    _links(grid, summary, files, runs, terminal)


def cell_figures(cell: CellSummary, metric: str) -> dict[str, float]:
    """Return a cell's numbers by MLflow's metric names; the mean bears the name of the figure itself, too.

    Ends of intervals have a group of their own, which MLflow's lists, in the order of names, show after the rest.
    """
    ends = ("_low", "_high")
    named = {
        f"{metric}_95/{name}" if name.endswith(ends) else f"{metric}/{name}": v for name, v in cell.figures().items()
    }
    return {metric: cell.mean, **named} if cell.mean is not None else named


def _tell(
    plans: Sequence[CellPlan],
    summary: GridSummary,
    files: Sequence[Path],
    folder: Path,
    runs: GridRuns,
) -> None:
    metric = summary.outcome.metric
    for plan, cell in zip(plans, summary.cells, strict=True):
        runs.write_cell(plan, cell_figures(cell, metric))
    means = [cell.mean for cell in summary.cells if cell.mean is not None]
    done = sum(len(cell.runs) for cell in summary.outcome.cells)
    figures = {"runs": float(done), "cells": float(len(means)), f"{metric}/best": max(means)}
    report = next(file for file in files if file.suffix == ".md" and file.stem.startswith("report"))
    complete = all(cell.complete for cell in summary.outcome.cells)
    runs.write_grid(report, conclusion(summary), files, folder, figures, complete=complete)
    runs.publish()


def _links(grid: Grid, summary: GridSummary, files: Sequence[Path], runs: GridRuns, terminal: Terminal) -> None:
    """What to look at next."""
    wanted = {"report": ("report", ".md"), "LaTeX": ("table", ".tex")}
    lines = [
        (name, str(file))
        for name, (stem, kind) in wanted.items()
        for file in files
        if file.suffix == kind and file.stem.startswith(stem)
    ]
    if runs.tracker.ui_command and runs.experiment is not None:
        lines.append(("MLflow", runs.tracker.ui_command))
    ranked = sorted((c for c in summary.cells if c.mean is not None), key=lambda cell: -(cell.mean or 0.0))
    shown = list(dict.fromkeys([grid.baseline.label, *(cell.label for cell in ranked[:COMPARED])]))
    lines += runs.links(shown).items()
    for name, text in lines:
        last = terminal.result if name in wanted else terminal.print
        last(f"{name:8}  {escape(text)}", soft_wrap=True)
    terminal.event(
        "result",
        grid=grid.name,
        metric=summary.outcome.metric,
        cells=[
            {"cell": cell.label, "complete": cell.complete, "baseline": cell.baseline, **cell_figures(cell, "value")}
            for cell in summary.cells
        ],
        files=files,
        pages=runs.links(shown),
    )
