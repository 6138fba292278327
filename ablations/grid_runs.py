"""The MLflow side of a grid: one run a training, one a cell with its statistics, one that sums the grid up.

Everything told here stands in run folders as well, so MLflow may be away: what is missing is delivered at the end, or
by the next launch. A training that another grid has made before is told to this grid's experiment, too.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ablations.cell_curves import mean_curves, runs_digest
from ablations.description import LIMIT, description
from ablations.grid import Grid
from ablations.grid_pages import RUNS_KEY, factor_param, publish_pages
from ablations.plan import CellPlan, CellRun
from ablations.store import finished_reports
from plml.config import TrainConfig
from plml.report import EpochReport
from plml.report_log import read_reports
from plml.tracking import Tracker
from plml.tracking_format import NOTES
from plml.tracking_view import method_colors
from tune.best_effort import BestEffort
from tune.run_queue import PlannedRun

T = TypeVar("T")
SUPERSEDED = "superseded"  # kind of a run that belongs to no cell any more, and of a cell that has other runs now


class GridRuns:
    """Runs of one grid in the MLflow experiment ``plml/GRID``.

    Args:
        uri: tracking URI.
        grid: the grid.
        warn: tells the user, one line.

    Raises:
        TrackingError: the URI cannot be used by several processes.
    """

    def __init__(self, uri: str, grid: Grid, warn: Callable[[str], None]) -> None:
        self.uri: str | None = uri
        self.grid, self.warn = grid, warn
        self.tracker = Tracker(uri)
        self.experiment: str | None = None
        self.cells: dict[str, CellRun] = {}  # by key of the run
        self._known: dict[str, str] = {}  # run id by name of its folder
        self._complete: set[str] = set()  # names of folders whose runs are told to the end
        self._superseded: set[str] = set()  # names of folders that no cell had when the grid was concluded last
        self._grid_run: str | None = None
        self._cells: dict[tuple[str, str], str] = {}  # aggregate runs, also old ones, by cell and digest of its runs
        self._current: dict[str, str] = {}  # those that are shown, by cell
        self._lock = threading.RLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plml-mlflow")
        self._told: list[Future[None]] = []
        self._effort = BestEffort(warn, "the grid goes on, and the same command delivers everything later")
        self._colors = method_colors([cell.label for cell in grid.cells])

    def expect(self, runs: Sequence[CellRun]) -> None:
        """Know to which cells runs belong before they begin."""
        self.cells |= {run.planned.key: run for run in runs}

    # -- for the queue ------------------------------------------------------------------------------------

    def begin(self, run: PlannedRun) -> str | None:
        """Return the run that a worker is to write to, made or opened again; None when MLflow is not to be had."""
        return self._guarded(lambda: self._open(self.cells[run.key], "RUNNING"))

    def end(self, run: PlannedRun, state: str, detail: str) -> None:
        """Tell how a run ended, by a thread; returns at once."""
        self._told.append(self._thread.submit(self._end, self.cells[run.key], state, detail))

    def _end(self, run: CellRun, state: str, detail: str) -> None:
        self._guarded(lambda: self._deliver(run, state, detail))

    # -- the whole grid -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Make database and experiment, before any worker touches the store, and see what is there."""
        self._guarded(self._look)

    def drain(self) -> None:
        """Wait until the thread has told everything."""
        for told in self._told:
            told.result()
        self._told = []

    def deliver(self, plans: Sequence[CellPlan], progress: Callable[[int], None] | None = None) -> None:
        """Tell every finished run that the store does not know to its end; mark those that no cell has any more."""
        self._effort.try_again()
        self.drain()
        self.open()
        runs = [run for plan in plans for run in plan.runs]
        late = [run for run in runs if run.finished and run.planned.folder.name not in self._complete]
        for left, run in zip(range(len(late), 0, -1), late, strict=True):
            if progress is not None:
                progress(left)
            self._end(run, "COMPLETE", "")
        for name in self._known.keys() - {run.planned.folder.name for run in runs} - self._superseded:
            self._guarded(partial(self.tracker.set_tags, self._known[name], {"plml.kind": SUPERSEDED}))
        for label in self._current.keys() - {plan.cell.label for plan in plans}:
            self._guarded(partial(self.tracker.set_tags, self._current.pop(label), {"plml.kind": SUPERSEDED}))

    def write_cell(self, plan: CellPlan, figures: Mapping[str, float]) -> None:
        """Write a cell's statistics and mean learning curves to its aggregate run.

        A curve cannot be taken back, so a cell that has other runs than before gets another aggregate run, and the
        former is no longer shown.

        Args:
            plan: the cell.
            figures: by MLflow's metric names; replace those of an earlier launch.
        """
        cell = plan.cell
        done = [run for run in plan.runs if run.finished]
        digest = runs_digest(done)
        tags = {
            **self._tags(cell.config, cell.label),
            "plml.kind": "cell",
            "plml.state": "COMPLETE" if len(done) == plan.planned else "INCOMPLETE",
            "mlflow.runColor": self._colors[cell.label],
        }
        config = done[0].planned.config if done else cell.config  # a search decides on part of it
        params = {**self._levels(cell.label), **config.flat()}
        params = {name: value for name, value in params.items() if name not in ("seed", "data.observation_seed")}

        def write() -> None:
            self._look()
            known = self._cells.get((cell.label, digest))
            former = self._current.get(cell.label)
            if former is not None and former != known:
                self.tracker.set_tags(former, {"plml.kind": SUPERSEDED})
            run = self._write_figures(known, cell.label, params, figures, tags)
            self._cells[cell.label, digest] = self._current[cell.label] = run
            if known is None:
                self.tracker.log_reports(run, mean_curves(done))
                self.tracker.set_tags(run, {"plml.runs": digest})  # last: a run without it is made anew

        self._guarded(write)

    def write_grid(
        self,
        report: Path,
        findings: Sequence[str],
        files: Sequence[Path],
        folder: Path,
        figures: Mapping[str, float],
        *,
        complete: bool,
    ) -> None:
        """Write conclusion, tables and figures to the grid's own run, and the conclusion above the pages.

        Args:
            report: Markdown, shown as the run's description.
            findings: the conclusion, a paragraph each.
            files: artifacts, under ``folder``.
            folder: of the grid.
            figures: by MLflow's metric names.
            complete: nothing is left to train.
        """
        clean = any(cell.config.selection.labels == "clean" for cell in self.grid.cells)
        tags = {
            "plml.kind": "grid",
            "plml.grid": self.grid.name,
            "plml.state": "COMPLETE" if complete else "INCOMPLETE",
            "plml.selection_clean": str(clean).lower(),
        }

        def write() -> None:
            self._look()
            assert self.experiment is not None
            grid = self.grid.config.model_dump(exclude={"base", "factors", "tune_per_cell"})
            params = {f"grid.{key}": value for key, value in grid.items() if value not in (None, [], {})}
            run = self._grid_run = self._write_figures(self._grid_run, self.grid.name, params, figures, tags)
            for file in files:
                under = file.parent.relative_to(folder)
                self.tracker.log_artifact(run, file, "" if under == Path() else str(under))
            notes = description(report.read_text(encoding="utf-8"), run, name=report.name)
            self.tracker.set_tags(run, {NOTES: notes})
            link = self.tracker.run_url(self.experiment, run).removeprefix(self.tracker.ui + "/")
            stamp = ["Selected on clean labels."] if clean else []
            above = "\n\n".join([*stamp, *findings])[: LIMIT - 200]
            self.tracker.describe_experiment(self.experiment, f"{above}\n\n[Tables and figures]({link})")

        self._guarded(write)

    def publish(self) -> None:
        """Set up the pages that links open: cells with their statistics, and runs grouped by cell."""
        if self.experiment is not None:
            experiment = self.experiment
            self._guarded(lambda: publish_pages(self.grid, self.tracker, experiment))

    def links(self, cells: Sequence[str]) -> dict[str, str]:
        """Return the links to print, by name.

        Args:
            cells: labels of those that the compare link sets side by side.
        """
        if self.experiment is None:
            return {}
        links = {"pages": self.tracker.experiment_url(self.experiment)}
        found = [self._current[label] for label in cells if label in self._current]
        if len(found) > 1:
            links["compare"] = self.tracker.compare_url(self.experiment, found)
        links["runs"] = self.tracker.table_url(self.experiment, key=RUNS_KEY)
        if self._grid_run is not None:
            links["summary"] = self.tracker.run_url(self.experiment, self._grid_run)
        return links

    # -- single runs --------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.experiment is not None:
            return
        experiment = self.tracker.open_experiment(f"plml/{self.grid.name}")
        for run, tags in self.tracker.run_tags(experiment).items():
            if tags.get("plml.grid") != self.grid.name:
                continue
            if tags.get("plml.kind") == "grid":
                self._grid_run = run
            elif "plml.run" not in tags:
                self._cells[tags["plml.cell"], tags.get("plml.runs", "")] = run
                if tags["plml.kind"] == "cell":
                    self._current[tags["plml.cell"]] = run
            else:
                name = tags["plml.run"]
                self._known[name] = run
                if tags["plml.kind"] == SUPERSEDED:
                    self._superseded.add(name)
                elif tags.get("plml.state") == "COMPLETE":
                    self._complete.add(name)
        self.experiment = experiment

    def _open(self, run: CellRun, state: str) -> str:
        """Return the id of a training's run, made or opened again."""
        self._look()
        assert self.experiment is not None
        name, config = run.planned.folder.name, run.planned.config
        known = self._known.get(name)
        if known is not None:
            self.tracker.reopen_run(known)
            self.tracker.set_tags(known, {"plml.state": state, "plml.kind": "run"})
            self._superseded.discard(name)
            return known
        tags = {
            **self._tags(config, run.cell.label),
            "plml.kind": "run",
            "plml.run": name,
            "plml.fingerprint": config.fingerprint,
            "plml.state": state,
            "plml.seed": str(config.seed),
            "plml.observation_seed": str(config.data.observation_seed),
            "plml.folder": str(run.planned.folder),
            "mlflow.runColor": self._colors[run.cell.label],
        }
        label = f"{run.cell.label}, seed {run.seed}" + (
            f", labels {run.label_draw}" if len(self.grid.config.label_draws) > 1 else ""
        )
        params = {**self._levels(run.cell.label), **config.flat()}
        self._known[name] = self.tracker.create_run(self.experiment, label, params=params, tags=tags)
        return self._known[name]

    def _deliver(self, run: CellRun, state: str, detail: str) -> None:
        folder, name = run.planned.folder, run.planned.folder.name
        new = name not in self._known
        identifier = self._open(run, state)
        told = set() if new else self.tracker.delivered_epochs(identifier)
        reports = [report for report in read_reports(folder) if report.epoch not in told]
        status = {"COMPLETE": "FINISHED", "FAILED": "FAILED", "INTERRUPTED": "KILLED"}[state]
        tags = {"plml.state": state} | ({"plml.error": detail} if detail else {})
        if state == "COMPLETE":
            self._attach(run, identifier)
        self.tracker.write_run(identifier, reports=reports, tags=tags, status=status)  # type: ignore[arg-type]
        if state == "COMPLETE":
            self._complete.add(name)

    def _attach(self, run: CellRun, identifier: str) -> None:
        """Store what the run learned from, and its checkpoint if that is asked for."""
        from tune.standings import read_result

        result, data = read_result(run.planned.folder), run.planned.config.data
        if result is not None:
            self.tracker.log_dataset(
                identifier,
                name=data.name,
                digest=str(result["data_digest"]),
                setting=data.observation["name"],
                source=data.root or "",
            )
        if self.grid.config.track.checkpoints and finished_reports(run.planned.folder) is not None:
            for name in ("config.yaml", "result.json"):
                self.tracker.log_artifact(identifier, run.planned.folder / name)
            self.tracker.log_artifact(identifier, run.planned.folder / "best.pt", "checkpoint")

    def _write_figures(
        self,
        run: str | None,
        name: str,
        params: Mapping[str, Any],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> str:
        """Write figures to the run of a cell or of the grid, made if it is not there; return its id."""
        assert self.experiment is not None
        if run is None:
            run = self.tracker.create_run(self.experiment, name, params=params, tags=tags)
        identifier = run
        told = self.tracker.call(lambda client: client.get_run(identifier).data.metrics, f"read run {run}")
        changed = any(told.get(figure) != value for figure, value in figures.items())
        reports = [EpochReport(0, dict(figures), time.time())] if changed else []
        self.tracker.write_run(run, reports=reports, tags=tags, status="FINISHED")
        return run

    def _tags(self, config: TrainConfig, label: str) -> dict[str, str]:
        return {
            "plml.grid": self.grid.name,
            "plml.cell": label,
            "plml.baseline": str(label == self.grid.baseline.label).lower(),
            "plml.method": config.method["name"],
            "plml.setting": config.data.observation["name"],
            "plml.selection": config.selected_by,
            "plml.selection_clean": str(config.selection.labels == "clean").lower(),
        }

    def _levels(self, label: str) -> dict[str, str]:
        """The cell's levels as parameters, so that MLflow can group and filter by them."""
        cell = next(cell for cell in self.grid.cells if cell.label == label)
        return {"cell": label, **{factor_param(name): level.name for name, level in cell.levels.items()}}

    def _guarded(self, call: Callable[[], T]) -> T | None:
        """Run ``call``, on trouble return None; see :class:`BestEffort`."""

        def work() -> T:
            with self._lock:  # the thread and the driver write in turn
                return call()

        return self._effort(work)
