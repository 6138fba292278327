"""The MLflow side of a study: the driver makes and ends every run, and delivers what trials could not.

MLflow trouble never stops a study: each failure is told once, calls are left out for a while, and
:meth:`TrialRuns.deliver` brings everything up to date as soon as the store answers.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from optuna.trial import FrozenTrial

from plml.config import TrainConfig, load_config
from plml.errors import PlmlError
from plml.report import EpochReport
from plml.report_log import read_reports
from plml.tracking import Tracker
from tune.best_effort import BestEffort
from tune.delivery import Delivery
from tune.folders import StudyFolder
from tune.ledger import Ledger
from tune.records import open_study, state_of
from tune.trial_matrices import trial_matrices

if TYPE_CHECKING:
    from tune.fetching import Fetcher

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]
STATUS: Mapping[str, Status] = {
    "COMPLETE": "FINISHED",
    "PRUNED": "FINISHED",
    "FAILED": "FAILED",
    "INTERRUPTED": "KILLED",
}
LATER_S = 60.0  # until MLflow is opened where nobody waits for it: it costs as much as dozens of linear trials


class TrialRuns:
    """Runs of one study in the MLflow experiment ``plml/STUDY``.

    Args:
        uri: tracking URI; None tracks nothing.
        ledger: where run ids are kept.
        warn: tells the user, one line.

    Raises:
        TrackingError: the URI cannot be used by several processes.
    """

    def __init__(self, uri: str | None, ledger: Ledger, warn: Callable[[str], None]) -> None:
        self.uri, self.ledger, self.warn = uri, ledger, warn
        self.folder: StudyFolder = ledger.folder
        self._tracker: Tracker | None = None
        self._opener: threading.Thread | None = None
        self._wanted = threading.Event()  # now rather than later
        self.experiment_id: str | None = None
        self.study_run: str | None = None
        self.uid = ledger.uid  # tells this study's runs from those of another of the same name
        self._first_number = ledger.total()  # trials from here on had no run before this launch
        self._unsure: set[str] = set()  # keys of runs that were perhaps made: the store did not answer
        self._effort = BestEffort(warn, "the study goes on, and the same command delivers everything later")
        self._opening = threading.Lock()
        self.fetcher: Fetcher | None = None  # of a study whose runs are in a store
        self.places: dict[str, dict[str, str]] = {}  # machine and devices of trials, by key
        self.delivery = Delivery(self)

    @property
    def worker_uri(self) -> str | None:
        """The store as workers reach it; None if they do not: a file of a folder that their machines do not share."""
        return None if self.fetcher is not None and str(self.uri).startswith("sqlite:") else self.uri

    @property
    def tracker(self) -> Tracker | None:
        """The store; made when it is needed first, because that imports MLflow."""
        if self._tracker is None and self.uri:
            self._tracker = Tracker(self.uri)
        return self._tracker

    def guarded(self, call: Callable[[Tracker, str], T]) -> T | None:
        """Run ``call`` with tracker and experiment; on trouble warn, be quiet for a while and return None."""
        if self.uri is None:
            return None

        def work() -> T:
            with self._opening:  # a new database breaks when two open it at once
                tracker = self.tracker
                assert tracker is not None
                if self.experiment_id is None:
                    self.experiment_id = tracker.open_experiment(f"plml/{self.folder.name}")
            return call(tracker, self.experiment_id)

        return self._effort(work)

    # -- the study's own run ------------------------------------------------------------------------------

    def open_study(self) -> None:
        """Create database, experiment and the study's summary run, before any worker touches the store."""
        study = self.ledger.study
        tags = {"plml.kind": "study", "plml.study": study.name, "plml.study_uid": self.uid}
        config = study.config.model_dump(exclude={"base", "search_space", "points"}, by_alias=True)
        params = {"base." + path: value for path, value in study.base.flat().items()} | {
            f"study.{key}": value for key, value in config.items() if value is not None
        }

        def find_or_create(tracker: Tracker, experiment: str) -> str:
            runs = tracker.find_runs(experiment, tags)
            if runs:
                tracker.reopen_run(runs[0])
                return runs[0]
            run = tracker.create_run(experiment, study.name, params=params, tags={**tags, "plml.state": "RUNNING"})
            if study.config.description:
                tracker.set_tags(run, {"mlflow.note.content": study.config.description})
            return run

        self.study_run = self.guarded(find_or_create)

    def open_study_later(self, then: Callable[[], None]) -> None:
        """As :meth:`open_study`, in a thread, when the first trials are done or somebody asks for it.

        Imports, a new database and its migrations take ten seconds of a processor; short searches on few cores would
        share theirs with them.

        Args:
            then: called when the store has answered.
        """

        def work() -> None:
            self._wanted.wait(LATER_S)
            self.open_study()
            if self.experiment_id is not None:
                then()

        if self.uri is not None:
            self._opener = threading.Thread(target=work, name="plml-mlflow", daemon=True)
            self._opener.start()

    def wait_until_open(self, *, now: bool) -> None:
        """Wait for the study's run if it is still to be made; ``now``: have it made at once."""
        if now:
            self._wanted.set()
        if self._opener is not None:
            self._opener.join()

    def with_study_run(self, call: Callable[[Tracker, str], T]) -> T | None:
        """Run ``call`` with the tracker and the id of the study's run; trouble is told, not raised."""
        self.wait_until_open(now=True)
        if self.study_run is None:
            self.open_study()
        run = self.study_run
        return None if run is None else self.guarded(lambda tracker, _: call(tracker, run))

    def close_study(self, state: str, metrics: Mapping[str, float]) -> None:
        """End the study's run with its figures."""

        def close(tracker: Tracker, run: str) -> None:
            step = self.ledger.ended()
            if step not in tracker.delivered_epochs(run):
                tracker.log_reports(run, [EpochReport(step, dict(metrics), time.time())])
            tracker.end_run(run, STATUS[state], {"plml.state": state})

        self.with_study_run(close)

    # -- runs of trials -----------------------------------------------------------------------------------

    def begin(self, trial: FrozenTrial, config: TrainConfig) -> str | None:
        """Return the trial's RUNNING run, made or opened again; None when MLflow is not to be had."""
        return self.guarded(lambda tracker, experiment: self.open_run(tracker, experiment, trial, config, "RUNNING"))

    def end(self, trial: FrozenTrial) -> None:
        """Deliver what is missing of an ended trial and close its run."""
        self.guarded(lambda tracker, experiment: self.deliver_run(tracker, experiment, trial))

    def begin_soon(self, trial: FrozenTrial, config: TrainConfig) -> None:
        """Have the trial's run made, and its curves brought from its run folder, by a thread; returns at once.

        For trials whose worker does not write to MLflow itself.
        """
        if self.uri is not None:
            self.delivery.begin(trial, config)

    def end_soon(self, trial: FrozenTrial) -> None:
        """As :meth:`end`, by the thread, without copying files; returns at once."""
        if self.uri is not None:
            self.delivery.end(trial)

    def drain(self, progress: Callable[[int], None] | None = None) -> None:
        """Wait until the thread has told everything that is to be told; trouble with MLflow ends it early.

        Args:
            progress: is called with the number of runs that are left, about twice a second.
        """
        self.wait_until_open(now=True)
        self.delivery.drain(progress)

    def deliver(self) -> None:
        """Bring the runs of all trials that are not being trained up to date; those that are already are skipped."""
        self._effort.try_again()
        for trial in self.ledger.trials():
            done = self.ledger.noted(trial.user_attrs["key"]).get("delivered")
            if state_of(trial) in STATUS and done != self.receipt(trial):
                self.end(trial)

    def upload_best(self, trials: Iterable[FrozenTrial]) -> None:
        """Store checkpoint and files of the given trials with their runs, once."""
        for trial in trials:
            key, run = trial.user_attrs["key"], self.run_of(trial)
            file = self.folder.trial(key) / "best.pt"
            if run is None or self.ledger.noted(key).get("uploaded") == self.uri:
                continue

            def upload(tracker: Tracker, experiment: str, run: str = run, file: Path = file) -> bool:
                del experiment
                self._copy_files(tracker, run, file.parent)
                if file.is_file():
                    tracker.log_artifact(run, file, "checkpoint")
                return True

            if self.guarded(upload):
                self.ledger.note(key, uploaded=self.uri)

    def run_of(self, trial: FrozenTrial) -> str | None:
        """Return the id of the trial's run in this store, or None."""
        run = self.ledger.noted(trial.user_attrs["key"]).get("run")
        return run["id"] if run and run["uri"] == self.uri else None

    def receipt(self, trial: FrozenTrial) -> list[Any]:
        """What is noted of a delivery: it is up to date while this does not change."""
        return [self.uri, state_of(trial), trial.number, trial.user_attrs.get("attempt")]

    def open_run(
        self,
        tracker: Tracker,
        experiment: str,
        trial: FrozenTrial,
        config: TrainConfig | None,
        state: str,
        *,
        with_params: bool = True,
    ) -> str:
        """Return the trial's run: the one it has, one that a killed driver made but could not note, or a new one.

        Args:
            tracker: MLflow.
            experiment: id of the study's experiment.
            trial: the trial.
            config: what it trains; None for a point that cannot be trained.
            state: tag of a run that is made or opened again.
            with_params: False leaves parameters of a new run to the caller.

        Raises:
            TrackingError: MLflow refuses or does not answer.
        """
        key = trial.user_attrs["key"]
        name = {"plml.kind": "trial", "plml.study_uid": self.uid, "plml.key": key}
        changing = {"plml.state": state, "plml.attempt": str(trial.user_attrs.get("attempt", 1))}
        if "code" in trial.user_attrs:
            changing["plml.code"] = trial.user_attrs["code"]
        noted = run = self.run_of(trial)
        if run is None and not self.is_new(trial):
            run = next(iter(tracker.find_runs(experiment, name)), None)
        params, scaled = self.params_of(trial, config), self.ledger.study.space.log_paths
        if run is None:
            tags = {**name, **changing, "plml.study": self.ledger.study.name, **self._config_tags(config)}
            label = "-".join([key, *([config.method["name"]] if config else ["invalid"])])
            self._unsure.add(key)
            run = tracker.create_run(
                experiment, label, params=params if with_params else {}, tags=tags, log_scaled=scaled
            )
            self._unsure.discard(key)
        else:
            tracker.reopen_run(run)
            tracker.set_tags(run, changing)
            if noted is None:
                tracker.complete_params(run, params, log_scaled=scaled)
        if noted != run:
            self.ledger.note(key, run={"uri": self.uri, "id": run})
        return run

    def is_new(self, trial: FrozenTrial) -> bool:
        """Whether nobody can have made a run of this trial, so that there is no need to look for it."""
        key = trial.user_attrs["key"]
        return trial.number >= self._first_number and key not in self._unsure and self.run_of(trial) is None

    def params_of(self, trial: FrozenTrial, config: TrainConfig | None) -> Mapping[str, Any]:
        """Return the parameters of a trial's run."""
        return config.flat() if config else trial.user_attrs["values"]

    def _config_tags(self, config: TrainConfig | None) -> dict[str, str]:
        if config is None:
            return {}
        seeds = self.ledger.study.config.seeds or [config.seed]
        return {
            "plml.method": config.method["name"],
            "plml.setting": config.data.observation["name"],
            "plml.seed": ",".join(map(str, seeds)),
            "plml.observation_seed": str(config.data.observation_seed),
            "plml.fingerprint": config.fingerprint,
            "plml.selection": config.selected_by,
        }

    def deliver_run(
        self,
        tracker: Tracker,
        experiment: str,
        trial: FrozenTrial,
        *,
        config: TrainConfig | None = None,
        told: Collection[int] | None = None,
        with_params: bool = False,
        files: bool = True,
    ) -> None:
        """Write what is missing of an ended trial and close its run.

        Args:
            tracker: MLflow.
            experiment: id of the study's experiment.
            trial: the trial, ended or interrupted.
            config: its configuration if it is at hand.
            told: epochs whose reports the store holds; None: ask it.
            with_params: the run has no parameters yet.
            files: copy configuration, result and pictures into the run.

        Raises:
            TrackingError: MLflow refuses or does not answer.
        """
        key, state = trial.user_attrs["key"], state_of(trial)
        folder = self.folder.trial(key)
        if self.fetcher is not None:
            self.fetcher.fetch(folder, ended=state != "INTERRUPTED")
        run = self.run_of(trial)
        if run is None:
            config = config or self._config_of(trial)
            new = self.is_new(trial)
            run = self.open_run(tracker, experiment, trial, config, state, with_params=not new)
            told, with_params = ((), True) if new else (told, False)
        reports = read_reports(folder)
        if told is None:
            told = tracker.delivered_epochs(run) if reports else ()
        tags = {"plml.state": state, "plml.folder": str(folder), **self.places.pop(key, {})}
        for name in ("reason", "error"):
            if name in trial.user_attrs:
                tags[f"plml.{name}"] = str(trial.user_attrs[name])
        if files:
            self._copy_files(tracker, run, folder)
        tracker.write_run(
            run,
            reports=[report for report in reports if report.epoch not in told],
            params=self.params_of(trial, config) if with_params else {},
            log_scaled=self.ledger.study.space.log_paths,
            tags=tags,
            status=STATUS[state],
        )
        self.ledger.note(key, delivered=self.receipt(trial))

    def _copy_files(self, tracker: Tracker, run: str, folder: Path) -> None:
        for name in ("config.yaml", "result.json"):
            if (folder / name).is_file():
                tracker.log_artifact(run, folder / name)
        for picture in trial_matrices(folder):
            tracker.log_artifact(run, picture, "matrices")

    def _config_of(self, trial: FrozenTrial) -> TrainConfig | None:
        """The trial's configuration; None for a point that cannot be trained."""
        try:
            return self.ledger.study.space.resolve(trial.user_attrs["values"])
        except PlmlError:
            file = self.folder.trial(trial.user_attrs["key"]) / "config.yaml"
            return load_config(file) if file.is_file() else None


def discard_runs(folder: StudyFolder, uri: str, warn: Callable[[str], None]) -> None:
    """Move the MLflow runs of a study that is begun again to MLflow's trash."""
    try:
        uid = open_study(folder).user_attrs["uid"]
        tracker = Tracker(uri)
        experiment = tracker.open_experiment(f"plml/{folder.name}")
        for run in tracker.find_runs(experiment, {"plml.study_uid": uid}):
            tracker.delete_run(run)
    except (PlmlError, KeyError) as error:
        warn(f"the MLflow runs of the old study stay: {error}")
