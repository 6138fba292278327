"""The trials of a study in their order, read from the ledger and the run folders.

Only trials that trained to their end are ranked; the others follow. Test figures are carried along, and
choose nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from plml import report_log
from plml.config import TrainConfig, load_config
from plml.errors import ConfigError
from tune.records import counted_trials, state_of

_ORDER = {"COMPLETE": 0, "PRUNED": 1, "RUNNING": 2, "INTERRUPTED": 3, "FAILED": 4}


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        key: the trial's name.
        number: Optuna's number, in the order in which trials were asked.
        state: COMPLETE, PRUNED, FAILED, RUNNING or INTERRUPTED.
        reason: why it is not COMPLETE, in a word; empty otherwise.
        objective: the best value of the study's metric, None if no epoch was evaluated.
        values: searched ``{path: value}``.
        config: resolved configuration; None for a point that could not be trained.
        metrics: figures of the last report.
        val_map: clean validation mAP of the chosen epoch, in percent; shown, not used.
        run_folder: folder with configuration and scores; of the first seed when the trial has several.
        seeds: how many seeds the figures are the mean of.
        mlflow_run_id: id of its run, or None.
    """

    key: str
    number: int
    state: str
    reason: str
    objective: float | None
    values: Mapping[str, Any]
    config: TrainConfig | None
    metrics: Mapping[str, float]
    val_map: float | None
    run_folder: Path
    seeds: int = 1
    mlflow_run_id: str | None = None

    @property
    def method(self) -> str:
        """The method's name, ``?`` if the point does not say."""
        return self.config.method["name"] if self.config else str(self.values.get("method.name", "?"))

    @property
    def selected_by(self) -> str:
        """Criterion and labels that chose the epoch."""
        return self.config.selected_by if self.config else ""

    @property
    def chosen_by_clean_labels(self) -> bool:
        """Whether clean validation labels chose the epoch, which a partial label setting does not have."""
        return self.config is not None and self.config.selection.labels == "clean"

    @property
    def test_map(self) -> float | None:
        """Test mAP of the chosen epoch, in percent; None before the run's end."""
        return self.metrics.get("test/mAP")

    @property
    def best_epoch(self) -> int | None:
        """The chosen epoch, from 0."""
        epoch = self.metrics.get("selection/best_epoch")
        return None if epoch is None else round(epoch)


@dataclass(frozen=True)
class Leaderboard:
    """All trials of a study, best first.

    Attributes:
        study: its name.
        metric: what trials are judged by.
        maximize: whether larger is better.
        rows: ranked complete trials, then the others.
        log_paths: parameters searched on a log scale.
        folder: where the files are.
        figures: image files.
    """

    study: str
    metric: str
    maximize: bool
    rows: tuple[Row, ...]
    log_paths: tuple[str, ...]
    folder: Path
    figures: tuple[Path, ...] = field(default=())

    @property
    def ranked(self) -> list[Row]:
        """Complete trials, best first."""
        return [row for row in self.rows if row.state == "COMPLETE"]

    @property
    def best(self) -> Row | None:
        """The winner."""
        return self.ranked[0] if self.ranked else None

    @property
    def chosen_by_clean_labels(self) -> bool:
        """Whether any of its trials was."""
        return any(row.chosen_by_clean_labels for row in self.rows)

    @cached_property
    def best_of_each(self) -> list[Row]:
        """The best complete trial of every method, best method first."""
        first: dict[str, Row] = {}
        for row in self.ranked:
            first.setdefault(row.method, row)
        return list(first.values())

    @cached_property
    def methods(self) -> list[str]:
        """Every method tried, in the order in which they came up; decides their colours."""
        return list(dict.fromkeys(row.method for row in sorted(self.rows, key=lambda row: row.number)))

    @cached_property
    def varied(self) -> list[str]:
        """Searched paths that take more than one value, the method aside."""
        paths = list(dict.fromkeys(path for row in self.rows for path in row.values if path != "method.name"))
        return [path for path in paths if len({repr(row.values.get(path)) for row in self.rows}) > 1]

    @property
    def csv_file(self) -> Path:
        """The table with everything."""
        return self.folder / "leaderboard.csv"

    @property
    def best_file(self) -> Path | None:
        """The winner's configuration."""
        return self.folder / "best.yaml" if self.best else None

    @property
    def notes_file(self) -> Path:
        """The summary in Markdown."""
        return self.folder / "leaderboard.md"


def read_leaderboard(study: Study, folder: Path) -> Leaderboard:
    """Read ledger and run folders.

    Args:
        study: the ledger.
        folder: the study's folder, with run folders in ``trials/KEY``.
    """
    attrs = study.user_attrs  # once: Optuna copies all of it each time, and it grows with the trials
    spec = attrs.get("spec") or {}
    space = spec.get("search_space", {}).values()
    maximize = study.direction == StudyDirection.MAXIMIZE
    rows = [_row(trial, folder, attrs, maximize=maximize) for trial in counted_trials(study)]
    sign = -1.0 if maximize else 1.0
    rows.sort(key=lambda row: (_ORDER[row.state], row.objective is None, sign * (row.objective or 0.0), row.number))
    return Leaderboard(
        study=study.study_name,
        metric=spec.get("objective", {}).get("metric", "selection/best"),
        maximize=maximize,
        rows=tuple(rows),
        log_paths=tuple(dict.fromkeys(item["path"] for item in space if item["range"].get("log"))),
        folder=folder,
    )


def _row(trial: FrozenTrial, folder: Path, study_attrs: Mapping[str, Any], *, maximize: bool) -> Row:
    attrs = trial.user_attrs
    trial_folder = folder / "trials" / attrs["key"]
    seeds = (study_attrs.get("spec") or {}).get("seeds") or []
    run_folder = trial_folder / f"seed_{seeds[0]}" if seeds else trial_folder
    noted = study_attrs.get(f"note {attrs['key']}", {}).get("run") or {}
    state = state_of(trial)
    reports = read_reports(trial_folder)
    metrics = reports[-1][1] if reports else {}
    chosen = dict(reports).get(round(metrics.get("selection/best_epoch", -1)), {})
    return Row(
        key=attrs["key"],
        number=trial.number,
        state=state,
        reason="" if state == "COMPLETE" else attrs.get("reason", "").replace("_", " "),
        objective=_objective(trial, maximize=maximize),
        values=attrs.get("values", {}),
        config=_config(run_folder / "config.yaml"),
        metrics=metrics,
        val_map=chosen.get("val/mAP"),
        run_folder=run_folder,
        seeds=len(seeds) or 1,
        mlflow_run_id=noted.get("id"),
    )


def _objective(trial: FrozenTrial, *, maximize: bool) -> float | None:
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    told = trial.intermediate_values.values()
    if not told:
        return None
    return max(told) if maximize else min(told)


def _config(file: Path) -> TrainConfig | None:
    try:
        return load_config(file) if file.is_file() else None
    except ConfigError:
        return None  # written by a version with other keys: the figures still count


def read_reports(run_folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Return epoch and metrics of every report of a run; a damaged line and what follows it is left out."""
    return [(report.epoch, dict(report.metrics)) for report in report_log.read_reports(run_folder)]


def read_result(run_folder: Path) -> dict[str, Any] | None:
    """Return what a finished run wrote of itself, None if it did not finish."""
    file = run_folder / "result.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def short(value: Any) -> str:
    """Return a parameter's value to three figures."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)
