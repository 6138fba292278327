"""MLflow behind two classes: the driver's :class:`Tracker` and a trial's :class:`RunLogger`.

MLflow is imported once an object is built, not before. Every call is bounded in time: it runs in
a thread that is left behind when the store does not answer, so a dead server costs seconds, never a study.
Telling a report twice leaves one point, because the report brings its own time stamp and MLflow's primary key
of a point is (run, key, step, time, value); back-filling is therefore always safe.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from plml.report import EpochReport
from plml.tracking_calls import bounded, reason
from plml.tracking_client import connect, import_mlflow, log_params, log_points, search, write
from plml.tracking_format import DELIVERED, FIRST, NOTES, batches, flat_params
from plml.tracking_logger import RunLogger, system_load
from plml.tracking_pages import Pages
from plml.tracking_uri import TrackingError, check_uri, sqlite_file
from plml.tracking_view import VIEW_KEY, VIEW_TAG, view_state, view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunLogger", "Tracker", "TrackingError", "check_uri", "flat_params", "system_load"]

T = TypeVar("T")

_LONG = 30.0  # creating a database or copying a checkpoint may take so many times the limit of a call


class Tracker(Pages):
    """What the driver of a study does with MLflow: experiments, runs and their ends, back-filling, artifacts.

    Every method raises TrackingError when the store refuses or does not answer in time.

    Args:
        uri: absolute ``sqlite:////ABS/FILE.db``, ``http(s)://HOST``, or ``postgresql://...``.
        timeout_s: longest wait of one call, in seconds; creating a database and copying files may take 30 times
            as long.
    """

    def __init__(self, uri: str, *, timeout_s: float = 10.0) -> None:
        super().__init__(check_uri(uri))
        self.timeout_s = timeout_s
        import_mlflow(self.uri, timeout_s)
        self._client: MlflowClient | None = None

    def open_experiment(self, name: str, *, artifact_root: Path | None = None) -> str:
        """Return the id of the experiment, creating database and experiment where they are missing.

        To be called before any other process touches the store: a new database is migrated by its first user,
        and several at once break it.

        Args:
            name: the experiment's name.
            artifact_root: folder of a new experiment's artifacts; default: ``mlartifacts`` beside the SQLite
                file, or in the current folder for PostgreSQL. A server decides for itself.
        """
        location = None if self.is_server else str((artifact_root or self._default_artifacts()).absolute())
        if file := sqlite_file(self.uri):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrackingError(f"the folder of tracking URI '{self.shown}' cannot be made: {error}") from None
        tags = {VIEW_TAG: view_state(FIRST, True, ["Method", "optim.lr"], ["Method", "optim.lr"])}

        def find_or_create(client: "MlflowClient") -> tuple[str, str]:
            from mlflow.exceptions import MlflowException

            for _ in range(2):
                experiment = client.get_experiment_by_name(name)
                if experiment is not None:
                    if VIEW_TAG not in experiment.tags and experiment.lifecycle_stage == "active":
                        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, tags[VIEW_TAG])
                    return experiment.experiment_id, experiment.lifecycle_stage
                try:
                    return client.create_experiment(name, location, tags), "active"
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
            raise TrackingError(f"MLflow experiment '{name}' appears and vanishes at {self.shown}")

        identifier, stage = self.call(find_or_create, f"open experiment '{name}'", long=True)
        if stage == "deleted":
            raise TrackingError(
                f"MLflow experiment '{name}' was deleted; bring it back with "
                f"MLFLOW_TRACKING_URI='{self.shown}' mlflow experiments restore --experiment-id {identifier}"
            )
        return identifier

    def create_run(
        self,
        experiment_id: str,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        log_scaled: Collection[str] = (),
    ) -> str:
        """Create a RUNNING run and return its id; for ``params`` and ``log_scaled`` see :func:`flat_params`."""

        def create(client: "MlflowClient") -> str:
            run_id: str = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
            if params:
                log_params(run_id, flat_params(params, log_scaled), client)
            return run_id

        return self.call(create, f"create run '{name}'")

    def complete_params(self, run_id: str, params: Mapping[str, Any], *, log_scaled: Collection[str] = ()) -> None:
        """Log those parameters that the run does not have, because whoever made it was killed in between."""

        def complete(client: "MlflowClient") -> None:
            known = client.get_run(run_id).data.params
            missing = {key: text for key, text in flat_params(params, log_scaled).items() if key not in known}
            log_params(run_id, missing, client)

        self.call(complete, f"log parameters of run {run_id}")

    def reopen_run(self, run_id: str) -> None:
        """Set the run's status to RUNNING again."""
        self.call(lambda client: client.update_run(run_id, status="RUNNING"), f"reopen run {run_id}")

    def end_run(
        self, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"], tags: Mapping[str, str] | None = None
    ) -> None:
        """Set tags, then the final status."""
        if tags:
            self.set_tags(run_id, tags)
        self.call(lambda client: client.set_terminated(run_id, status=status), f"end run {run_id}")

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags; MLflow keeps 8000 characters of a value."""

        def tag(client: "MlflowClient") -> None:
            from mlflow.entities import RunTag

            client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

        self.call(tag, f"tag run {run_id}")

    def log_reports(self, run_id: str, reports: Iterable[EpochReport]) -> None:
        """Write the metrics of ``reports`` by step; telling a report again changes nothing."""
        for batch in batches(list(reports)):
            self.call(partial(log_points, run_id, batch), f"log metrics of run {run_id}")

    def write_run(
        self,
        run_id: str,
        *,
        reports: Sequence[EpochReport] = (),
        params: Mapping[str, Any] | None = None,
        log_scaled: Collection[str] = (),
        tags: Mapping[str, str] | None = None,
        status: Literal["FINISHED", "FAILED", "KILLED"] | None = None,
    ) -> None:
        """Write whatever is given in as few calls as MLflow's limits allow: a whole short run takes two.

        Args:
            run_id: the run.
            reports: as for :meth:`log_reports`.
            params: as for :func:`flat_params`, parameters the run does not have yet.
            log_scaled: as for :func:`flat_params`.
            tags: tags to set or replace.
            status: ends the run.
        """
        texts = flat_params(params or {}, log_scaled)
        groups = batches(reports) or ([[]] if texts or tags else [])
        for place, group in enumerate(groups):
            first = place == 0
            tell = partial(write, run_id, group, texts if first else {}, (tags or {}) if first else {})
            self.call(tell, f"write run {run_id}")
        if status is not None:
            self.call(lambda client: client.set_terminated(run_id, status=status), f"end run {run_id}")

    def delivered_epochs(self, run_id: str) -> set[int]:
        """Return the epochs whose reports the store holds."""
        history = self.call(lambda client: client.get_metric_history(run_id, DELIVERED), f"read run {run_id}")
        return {point.step for point in history}

    def log_dataset(self, run_id: str, *, name: str, digest: str, setting: str, source: str = "") -> None:
        """Attach the data set the run learns from, so that runs can be told apart by it in the UI.

        Args:
            run_id: the run.
            name: the data set, for example ``voc2012``.
            digest: names labels and label setting; 36 characters of it are kept.
            setting: the observation mechanism, for example ``single_positive``.
            source: where it lies, for the reader.
        """

        def attach(client: "MlflowClient") -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            dataset = Dataset(
                name=name, digest=digest[:36], source_type="local", source=json.dumps({"uri": source or name})
            )
            tags = [InputTag("mlflow.data.context", setting)]
            client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])

        self.call(attach, f"attach data set '{name}' to run {run_id}")

    def log_artifact(self, run_id: str, path: Path, folder: str = "") -> None:
        """Copy a file into the run's artifacts, under ``folder``."""
        if not path.is_file():
            raise TrackingError(f"artifact {path} is not a file")
        self.call(
            lambda client: client.log_artifact(run_id, str(path), folder or None),
            f"store {path.name} with run {run_id}",
            long=True,
        )

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Store ``text`` as artifact ``name``."""
        self.call(lambda client: client.log_text(run_id, text, name), f"store {name} with run {run_id}", long=True)

    def run_states(self, experiment_id: str) -> dict[str, str]:
        """Return ``{run id: RUNNING | FINISHED | FAILED | KILLED | SCHEDULED}`` of all runs not deleted."""
        return {run.info.run_id: run.info.status for run in self._runs(experiment_id)}

    def run_tags(self, experiment_id: str) -> dict[str, dict[str, str]]:
        """Return ``{run id: tags}`` of all runs not deleted."""
        return {run.info.run_id: dict(run.data.tags) for run in self._runs(experiment_id)}

    def _runs(self, experiment_id: str) -> Iterator["Run"]:
        token: str | None = None
        while True:
            find = partial(search, [experiment_id], page_token=token)
            page = self.call(find, f"list the runs of experiment {experiment_id}", long=True)
            yield from page
            token = page.token
            if not token:
                return

    def find_runs(self, experiment_id: str, tags: Mapping[str, str]) -> list[str]:
        """Return the ids of the runs that bear all of ``tags``, newest first."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self.call(
            lambda client: client.search_runs([experiment_id], query, max_results=1000), f"look for runs with {query}"
        )
        return [run.info.run_id for run in found]

    def delete_run(self, run_id: str) -> None:
        """Move a run to MLflow's trash; ``mlflow gc`` empties it, ``MlflowClient.restore_run`` brings it back."""
        self.call(lambda client: client.delete_run(run_id), f"delete run {run_id}")

    def publish_view(
        self,
        experiment_id: str,
        *,
        metric: str,
        maximize: bool,
        axes: Sequence[str],
        columns: Sequence[str],
        key: str = VIEW_KEY,
        **further: Any,
    ) -> None:
        """Set what :meth:`experiment_url` and :meth:`table_url` show; see :func:`plml.tracking_view.view_state`."""
        state = view_state(metric, maximize, axes, columns, **further)
        self.call(lambda client: client.set_experiment_tag(experiment_id, view_tag(key), state), "set up the page")

    def describe_experiment(self, experiment_id: str, notes: str) -> None:
        """Set what stands at the top of the experiment's pages, Markdown; its first line is seen at once."""
        self.call(lambda client: client.set_experiment_tag(experiment_id, NOTES, notes), "describe the experiment")

    def experiment_of(self, run_id: str) -> str:
        """Return the id of the run's experiment."""
        identifier: str = self.call(lambda client: client.get_run(run_id), f"read run {run_id}").info.experiment_id
        return identifier

    def _default_artifacts(self) -> Path:
        file = sqlite_file(self.uri)
        return (file.parent if file else Path.cwd()) / "mlartifacts"

    def call(self, call: Callable[["MlflowClient"], T], what: str, *, long: bool = False) -> T:
        """Run ``call`` with the client, bounded in time; turn whatever goes wrong into TrackingError."""

        def run() -> T:
            if self._client is None:
                self._client = connect(self.uri)
            return call(self._client)

        try:
            return bounded(run, self.timeout_s * (_LONG if long else 1))
        except TrackingError:
            raise
        except Exception as error:
            raise TrackingError(f"could not {what} at {self.shown}: {reason(error, self.shown)}") from error
