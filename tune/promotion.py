"""The runs of a promotion: the best configurations of a study, each trained anew on other seeds and label draws."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial

from plml.config import TrainConfig
from plml.report_log import read_reports
from plml.tracking import Tracker, TrackingError
from tune.folders import StudyFolder
from tune.searcher import FINISHED, StudyObserver, TrialSource
from tune.study import Study
from tune.trainable import Task, TrialReport

ATTEMPTS = 3
FIGURES = ("test/mAP", "val/mAP", "selection/best")


@dataclass(frozen=True)
class Run:
    """One training of a promotion.

    Attributes:
        rank: 1 for the study's best configuration.
        key: the trial it comes from.
        repeat: 0, 1, ... of the same configuration.
        values: ``{path: value}`` of the search space.
        config: with the seeds of this repeat.
    """

    rank: int
    key: str
    repeat: int
    values: dict[str, Any]
    config: TrainConfig

    @property
    def name(self) -> str:
        """A name for people; the run's folder is named by its content."""
        return f"{self.key}.{self.repeat}"


def planned_runs(study: Study, best: Sequence[FrozenTrial], repeats: int) -> list[Run]:
    """Return every run, repeat by repeat, so that a table of all configurations stands early.

    Repeat r trains with seed and observation seed r + 1 above the study's own, so neither its initialisation nor
    its observed labels are those that the configuration was chosen on. The split stays, hence the same test images.
    """
    used = max(study.config.seeds or [study.base.seed])
    runs = []
    for repeat in range(repeats):
        for rank, trial in enumerate(best, start=1):
            values = trial.user_attrs["values"]
            config = study.space.resolve(values)
            draw = config.data.model_copy(update={"observation_seed": config.data.observation_seed + 1 + repeat})
            config = config.model_copy(update={"seed": used + 1 + repeat, "data": draw})
            runs.append(Run(rank, trial.user_attrs["key"], repeat, values, config))
    return runs


class PromotionSearcher(TrialSource):
    """Hands out the runs that are not complete yet.

    Args:
        study: where the configurations come from.
        folder: its folder; runs lie in ``promotion/FINGERPRINT``.
        runs: all runs.
        observer: is told of progress.
        open_run: returns the MLflow run of a run, or None.
        close_run: is called when a run has ended, with its state.
        gpu: GPUs of a run.
        stopping: whether somebody asked to stop.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        runs: Sequence[Run],
        observer: StudyObserver,
        *,
        uri: str | None,
        open_run: Callable[[Run], str | None],
        close_run: Callable[[Run, str], None],
        gpu: float,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.study, self.folder, self.observer, self.uri = study, folder, observer, uri
        self.open_run, self.close_run, self.gpu, self.stopping = open_run, close_run, gpu, stopping
        self.waiting = [(run, 1) for run in runs]
        self.live: dict[str, tuple[Run, int]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next run's task."""
        if not self.waiting or self.stopping():
            return None if self.live else FINISHED
        run, attempt = self.live[trial_id] = self.waiting.pop(0)
        self.observer.began(run.name, run.values, attempt)
        task = Task(
            tree=run.config.tree(),
            folder=str(run_folder(self.folder, run)),
            tracking_uri=self.uri,
            run_id=self.open_run(run),
            gpu_fraction=self.gpu,
        )
        return {"task": asdict(task)}

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Follow a run; none is ever stopped."""
        if trial_id not in self.live:
            return False
        run, _ = self.live[trial_id]
        told = TrialReport(**{name: result[name] for name in TrialReport.__dataclass_fields__})
        if told.objective is not None:
            self.observer.reported(run.name, told.epoch, told.objective)
        if told.outcome == "complete":
            self._end(trial_id, "COMPLETE", told.objective, "")
        elif told.outcome != "running":
            self._end(trial_id, "FAILED", None, told.detail)
        return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker is gone; if its run is not complete, try again."""
        if trial_id not in self.live or self.stopping():
            return
        run, attempt = self.live[trial_id]
        if attempt >= ATTEMPTS:
            self._end(trial_id, "FAILED", None, f"its process died {attempt} times")
            return
        self.waiting.insert(0, (run, attempt + 1))
        self._end(trial_id, "INTERRUPTED", None, "its process died; it will be tried again")

    def close_live(self) -> None:
        """Close the runs that were being trained when somebody asked to stop."""
        for trial_id in list(self.live):
            self._end(trial_id, "INTERRUPTED", None, "")

    def _end(self, trial_id: str, state: str, objective: float | None, detail: str) -> None:
        run, _ = self.live.pop(trial_id)
        self.close_run(run, state)
        self.observer.ended(run.name, state, objective, detail)


def run_folder(folder: StudyFolder, run: Run) -> Any:
    """Return a run's folder, named by what it computes: the same run is never trained twice."""
    return folder.path / "promotion" / run.config.fingerprint


def figures_of(folder: StudyFolder, run: Run) -> dict[str, float] | None:
    """Return the figures of a complete run, or None."""
    reports = read_reports(run_folder(folder, run))
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
    values: dict[str, Any]
    searched: float
    runs: int
    means: dict[str, float]
    deviations: dict[str, float | None]


def summarise(folder: StudyFolder, best: Sequence[FrozenTrial], runs: Sequence[Run]) -> list[Row]:
    """Return one row a configuration, for those with at least one complete run; one run has no deviation."""
    rows = []
    for rank, trial in enumerate(best, start=1):
        own = [run for run in runs if run.rank == rank]
        figures = [found for found in (figures_of(folder, run) for run in own) if found is not None]
        if not figures:
            continue
        columns = {name: [found[name] for found in figures] for name in FIGURES}
        rows.append(
            Row(
                rank=rank,
                key=trial.user_attrs["key"],
                method=own[0].config.method["name"],
                values=trial.user_attrs["values"],
                searched=float(trial.value or 0.0),
                runs=len(figures),
                means={name: statistics.fmean(column) for name, column in columns.items()},
                deviations={n: statistics.stdev(c) if len(c) > 1 else None for n, c in columns.items()},
            )
        )
    return rows


class PromotionRuns:
    """MLflow runs of kind ``promotion``; trouble is told once and never stops the training."""

    def __init__(self, uri: str, study: Study, uid: str, folder: StudyFolder, warn: Callable[[str], None]) -> None:
        self.tracker, self.study, self.uid, self.folder, self._warn = Tracker(uri), study, uid, folder, warn
        self.experiment: str | None = None
        self.broken = False

    def open(self, run: Run) -> str | None:
        """Return the MLflow run of ``run``, made or opened again."""
        try:
            return self._find(run, make=True)
        except TrackingError as error:
            self._trouble(error)
            return None

    def close(self, run: Run, state: str) -> None:
        """Deliver what is missing and end the MLflow run."""
        status = {"COMPLETE": "FINISHED", "FAILED": "FAILED", "INTERRUPTED": "KILLED"}[state]
        try:
            found = self._find(run, make=state == "COMPLETE")
            if found is None:
                return
            told = self.tracker.delivered_epochs(found)
            reports = read_reports(run_folder(self.folder, run))
            self.tracker.log_reports(found, [report for report in reports if report.epoch not in told])
            self.tracker.end_run(found, status, {"plml.state": state})  # type: ignore[arg-type]
        except TrackingError as error:
            self._trouble(error)

    def _find(self, run: Run, *, make: bool) -> str | None:
        if self.experiment is None:
            self.experiment = self.tracker.open_experiment(f"plml/{self.study.name}")
        identity = {
            "plml.kind": "promotion",
            "plml.study_uid": self.uid,
            "plml.fingerprint": run.config.fingerprint,
        }
        found = self.tracker.find_runs(self.experiment, identity)
        if found:
            self.tracker.reopen_run(found[0])
            return found[0]
        if not make:
            return None
        config = run.config
        tags = {
            **identity,
            "plml.study": self.study.name,
            "plml.key": run.key,
            "plml.state": "RUNNING",
            "plml.rank": str(run.rank),
            "plml.method": config.method["name"],
            "plml.setting": config.data.observation["name"],
            "plml.seed": str(config.seed),
            "plml.observation_seed": str(config.data.observation_seed),
            "plml.selection": f"{config.selection.criterion} on {config.selection.labels} labels",
        }
        return self.tracker.create_run(
            self.experiment,
            f"promotion-{run.name}",
            params=config.flat(),
            tags=tags,
            log_scaled=self.study.space.log_paths,
        )

    def _trouble(self, error: TrackingError) -> None:
        if not self.broken:
            self._warn(f"MLflow: {error}; training goes on")
        self.broken = True
