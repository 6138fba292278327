"""The runs of a promotion: the best configurations of a study, each trained anew on other seeds and label draws."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from plml.report_log import read_reports
from plml.tracking import Tracker
from tune.best_effort import BestEffort
from tune.code_version import code_digest
from tune.folders import StudyFolder
from tune.run_queue import PlannedRun
from tune.study import Study
from tune.trial_runs import STATUS

FIGURES = ("test/mAP", "val/mAP", "selection/best")


@dataclass(frozen=True)
class Promoted:
    """A configuration that is promoted.

    Attributes:
        rank: 1 for the study's best configuration.
        trial: where it was searched.
        runs: its trainings.
    """

    rank: int
    trial: FrozenTrial
    runs: tuple[PlannedRun, ...]

    @property
    def key(self) -> str:
        """The trial's name."""
        return str(self.trial.user_attrs["key"])


def promoted(study: Study, folder: StudyFolder, best: Sequence[FrozenTrial], repeats: int) -> list[Promoted]:
    """Return the configurations of ``best`` with their runs, whose folders are named by what they compute.

    Repeat r trains with seed and observation seed r + 1 above the study's own, so neither its initialisation nor
    its observed labels are those that the configuration was chosen on. The split stays, hence the same test images.
    """
    used = max(study.config.seeds or [study.base.seed])
    found = []
    for rank, trial in enumerate(best, start=1):
        values = trial.user_attrs["values"]
        runs = []
        for repeat in range(repeats):
            config = study.space.resolve(values)
            draw = config.data.model_copy(update={"observation_seed": config.data.observation_seed + 1 + repeat})
            config = config.model_copy(update={"seed": used + 1 + repeat, "data": draw})
            key = f"{trial.user_attrs['key']}.{repeat}"
            runs.append(PlannedRun(key, values, config, folder.path / "promotion" / config.fingerprint))
        found.append(Promoted(rank, trial, tuple(runs)))
    return found


def in_turn(chosen: Sequence[Promoted]) -> list[PlannedRun]:
    """Return all runs, repeat by repeat, so that a table of all configurations stands early."""
    return [run for repeat in zip(*(each.runs for each in chosen), strict=True) for run in repeat]


def figures_of(run: PlannedRun) -> dict[str, float] | None:
    """Return the figures of a complete run, or None."""
    reports = read_reports(run.folder)
    if not reports or not reports[-1].final:
        return None
    best = next(r for r in reports if r.epoch == int(reports[-1].metrics["selection/best_epoch"]))
    return {**best.metrics, **reports[-1].metrics, "val/mAP": best.metrics["val/mAP"]}


@dataclass(frozen=True)
class Row:
    """One configuration in the table of a promotion: means and sample standard deviations over its runs."""

    rank: int
    key: str
    method: str
    values: Mapping[str, Any]
    searched: float
    runs: int
    means: dict[str, float]
    deviations: dict[str, float | None]


def summarise(chosen: Sequence[Promoted]) -> list[Row]:
    """Return one row a configuration, for those with at least one complete run; one run has no deviation."""
    rows = []
    for each in chosen:
        figures = [found for found in map(figures_of, each.runs) if found is not None]
        if not figures:
            continue
        columns = {name: [found[name] for found in figures] for name in FIGURES}
        rows.append(
            Row(
                rank=each.rank,
                key=each.key,
                method=each.runs[0].config.method["name"],
                values=each.runs[0].values,
                searched=float(each.trial.value or 0.0),
                runs=len(figures),
                means={name: statistics.fmean(column) for name, column in columns.items()},
                deviations={n: statistics.stdev(c) if len(c) > 1 else None for n, c in columns.items()},
            )
        )
    return rows


class PromotionRuns:
    """MLflow runs of kind ``promotion``; trouble is told once and never stops the training."""

    def __init__(self, uri: str, study: Study, uid: str, warn: Callable[[str], None]) -> None:
        self.uri, self.tracker, self.study, self.uid = uri, Tracker(uri), study, uid
        self.effort = BestEffort(warn, "training goes on, and the same command delivers everything later")
        self.experiment: str | None = None

    def begin(self, run: PlannedRun) -> str | None:
        """Return the MLflow run of ``run``, made or opened again."""
        return self.effort(lambda: self._find(run, make=True))

    def end(self, run: PlannedRun, state: str, detail: str) -> None:
        """Deliver what is missing and end the MLflow run."""
        self.effort(lambda: self._end(run, state, detail))

    def deliver(self, run: PlannedRun) -> None:
        """Bring the MLflow run of a complete training up to date, if it is not: the store may have been away."""

        def bring() -> None:
            if not self.tracker.find_runs(self._open(), {**self._identity(run), "plml.state": "COMPLETE"}):
                self._end(run, "COMPLETE", "")

        self.effort(bring)

    def _end(self, run: PlannedRun, state: str, detail: str) -> None:
        found = self._find(run, make=state == "COMPLETE")
        if found is None:
            return
        told = self.tracker.delivered_epochs(found)
        reports = read_reports(run.folder)
        self.tracker.log_reports(found, [report for report in reports if report.epoch not in told])
        tags = {"plml.state": state} | ({"plml.error": detail} if detail else {})
        self.tracker.end_run(found, STATUS[state], tags)

    def _open(self) -> str:
        if self.experiment is None:
            self.experiment = self.tracker.open_experiment(f"plml/{self.study.name}")
        return self.experiment

    def _identity(self, run: PlannedRun) -> dict[str, str]:
        return {"plml.kind": "promotion", "plml.study_uid": self.uid, "plml.fingerprint": run.config.fingerprint}

    def _find(self, run: PlannedRun, *, make: bool) -> str | None:
        experiment, identity = self._open(), self._identity(run)
        found = self.tracker.find_runs(experiment, identity)
        if found:
            self.tracker.reopen_run(found[0])
            return found[0]
        if not make:
            return None
        config = run.config
        tags = {
            **identity,
            "plml.study": self.study.name,
            "plml.key": run.key.rpartition(".")[0],
            "plml.state": "RUNNING",
            "plml.method": config.method["name"],
            "plml.setting": config.data.observation["name"],
            "plml.seed": str(config.seed),
            "plml.observation_seed": str(config.data.observation_seed),
            "plml.selection": config.selected_by,
            "plml.code": code_digest(),
        }
        return self.tracker.create_run(
            experiment,
            f"promotion-{run.key}",
            params=config.flat(),
            tags=tags,
            log_scaled=self.study.space.log_paths,
        )
