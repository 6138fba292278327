"""One launch of a grid: check, lock, find what is done, train the rest, conclude."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.markup import escape
from rich.table import Table

from ablations.grid import Grid, load_grid
from ablations.grid_file import GRIDS, find_grid, grid_names
from ablations.plan import CellPlan, missing_runs, open_searches, plan_cells
from ablations.run import grid_options
from ablations.store import Store
from plml.checkpoint import write_text
from plml.errors import ConfigError
from plml.schema import read_yaml
from plml.terminal import terminal
from plml.user_path import user_path
from tune.folders import StudyFolder
from tune.invocation import runner_command
from tune.records import failures as reasons_of

if TYPE_CHECKING:
    from ablations.grid_runs import GridRuns

DONE, FAILED, INTERRUPTED = 0, 3, 4


def list_grids(options: argparse.Namespace) -> int:
    """Print the grids that come with the project and those begun in the output folder."""
    table = Table(box=None, pad_edge=False)
    table.add_column("grid")
    table.add_column("what it compares, and what it needs")
    for name in grid_names():
        tree = read_yaml((GRIDS / f"{name}.yaml").read_text(encoding="utf-8"), name)
        table.add_row(name, escape(str(tree.get("description", ""))))
        terminal.event("grid", name=name, description=tree.get("description", ""), needs=tree.get("needs"))
        if needs := tree.get("needs"):
            table.add_row("", f"[dim]{escape(str(needs))}[/dim]")
    for file in sorted(_home(options).glob("*/grid.yaml")):
        table.add_row(file.parent.name, f"[dim]begun in {escape(str(file.parent))}[/dim]")
        terminal.event("grid", name=file.parent.name, folder=file.parent)
    terminal.print(table)
    return DONE


def launch(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Start a grid, continue it, or rebuild its report; return the exit code of :mod:`ablations.run`."""
    grid = read_grid(options)
    store = Store(_home(options))
    if options.download:
        from tune.launch import fetch_weights

        fetch_weights(cell.config.model for cell in grid.cells)
    plans = plan_cells(grid, store)
    if options.dry_run:
        from ablations.preview import dry_run

        return dry_run(grid, plans, terminal)
    if options.report and not any(run.finished for plan in plans for run in plan.runs):
        raise ConfigError(f"--report: nothing of grid '{grid.name}' has been trained in {store.path}")
    from plml.tracking import check_uri

    uri = check_uri(options.tracking_uri or f"sqlite:///{_output(options)}/mlflow.db")
    folder = store.grid(grid.name)
    with folder.hold():
        return run_grid(grid, plans, store, folder, uri, options, continue_line(arguments))


def read_grid(options: argparse.Namespace) -> Grid:
    """Read the grid with everything the command line says about it."""
    file = find_grid(options.grid, _home(options))
    return load_grid(file, options.assignments, output=_output(options), options=grid_options(options))


def continue_line(arguments: Sequence[str]) -> str:
    """Return the command that continues the grid."""
    return shlex.join([*runner_command("ablations/run.py"), *arguments])


def run_grid(
    grid: Grid,
    plans: Sequence[CellPlan],
    store: Store,
    folder: StudyFolder,
    uri: str,
    options: argparse.Namespace,
    command: str,
) -> int:
    """Train what is left of a grid whose lock is held, and conclude; return the exit code."""
    from ablations.conclusion import conclude

    write_text(folder.path / "grid.yaml", dump_grid(grid))
    _head(grid, folder, plans, command)
    runs = None
    interrupted, failures = False, dict[str, str]()
    if not options.report and (open_searches(plans) or missing_runs(plans)):
        from ablations.training import train

        interrupted, failures, runs = train(grid, store, folder, plans, uri, options, terminal)
        plans = plan_cells(grid, store)
    runs = runs or _runs(grid, uri)
    conclude(grid, plans, folder, runs, terminal)
    return _verdict(plans, failures, command, interrupted=interrupted)


def _runs(grid: Grid, uri: str) -> "GridRuns":
    from ablations.grid_runs import GridRuns

    return GridRuns(uri, grid, warn=terminal.warn)


def dump_grid(grid: Grid) -> str:
    """Return the grid as YAML, overrides applied; :func:`ablations.grid.load_grid` reads it back."""
    tree = grid.config.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _head(grid: Grid, folder: StudyFolder, plans: Sequence[CellPlan], command: str) -> None:
    """Say what the grid is, and how much of it is done."""
    planned = sum(plan.planned for plan in plans)
    done = sum(run.finished for plan in plans for run in plan.runs)
    lines = [
        ("grid", f"{grid.name}: {len(plans)} cells, {planned} runs; compared with '{grid.baseline.label}'"),
        ("folder", str(folder.path)),
        ("continue", command),
    ]
    if tuning := grid.config.tune_per_cell:
        searched = [plan for plan in plans if plan.search is not None]
        ended = sum(not plan.waits for plan in searched)
        lines.insert(1, ("search", f"{tuning.n_trials} trials a cell, {ended} of {len(searched)} searches done"))
    for name, text in lines:
        terminal.print(f"{name:8}  {escape(text)}", soft_wrap=True)
    if done:
        terminal.print(f"{done} of {planned} runs are done already")
    terminal.event(
        "start",
        command="grid",
        name=grid.name,
        folder=folder.path,
        runs=planned,
        done=done,
        cells=[plan.cell.label for plan in plans],
        metric=grid.config.metric,
    )


def _verdict(plans: Sequence[CellPlan], failures: dict[str, str], command: str, *, interrupted: bool) -> int:
    planned = sum(plan.planned for plan in plans)
    done = sum(run.finished for plan in plans for run in plan.runs)
    if done == planned:
        return DONE
    if failures:
        terminal.warn(f"{len(failures)} runs failed; the same command tries them again")
        for detail in list(dict.fromkeys(failures.values()))[:5]:
            terminal.warn(f"  {detail}")
    barren = [plan for plan in plans if plan.barren]
    for plan in barren:
        terminal.warn(
            f"cell '{plan.cell.label}' has no runs: of the {len(plan.tried)} trials of its search none trained "
            "to its end"
        )
        for detail, count in reasons_of(plan.tried).most_common(3):
            terminal.warn(f"  {count} x {detail}")
    if not interrupted and not failures and done + sum(plan.planned for plan in barren) == planned:
        return DONE if done else FAILED  # the same command would train nothing
    why = "interrupted" if interrupted else "stopped"
    terminal.event("unfinished", reason=why, ended=done, trials=planned, command=command)
    terminal.result(f"[yellow]{why} after {done} of {planned} runs; nothing is lost. To continue:[/yellow]")
    terminal.result(f"  {escape(command)}", soft_wrap=True)
    return INTERRUPTED if interrupted else FAILED if not done else DONE


def _output(options: argparse.Namespace) -> Path:
    return user_path(options.output_dir).absolute()


def _home(options: argparse.Namespace) -> Path:
    return _output(options) / "ablations"
