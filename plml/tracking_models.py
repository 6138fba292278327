"""Models in MLflow: checkpoints that ``mlflow.pyfunc.load_model`` loads, their versions and the alias of the best.

A model is one by code (:mod:`plml.tracking_pyfunc`) with the checkpoint, and its thresholds if it has any, as
artifacts; nothing in it is pickled. It takes images (B, H, W, C) uint8, or image files in base64, and returns what
``plml predict`` shows. Its signature leaves the input open: of MLflow's schemas none allows both.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plml import __version__
from plml.checkpoint import save_checkpoint
from plml.model_candidate import CHECKPOINT_TAG, THRESHOLDS_TAG, Candidate
from plml.model_name import FORBIDDEN, check_model_name
from plml.tracking import Tracker
from plml.tracking_alias import move_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CODE = Path(__file__).with_name("tracking_pyfunc.py")


@dataclass(frozen=True)
class Registered:
    """What registering did.

    Attributes:
        name: the registered model.
        version: its version.
        new: whether this made the version.
        alias: whether the alias is on this version now; None if none was asked for.
        reason: why the alias was moved or not, as a sentence.
    """

    name: str
    version: str
    new: bool
    alias: bool | None = None
    reason: str = ""


def register(
    tracker: Tracker,
    candidate: Candidate,
    *,
    name: str,
    run_id: str,
    alias: str | None = None,
    force: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Make a checkpoint a version of the registered model ``name``; registering it again finds that version.

    The alias moves to a version only if nothing has it, or if both were chosen by the same criterion on the same
    validation labels and this one's figure is better.

    Args:
        tracker: the store.
        candidate: the checkpoint.
        name: the registered model; made if it is not there.
        run_id: the run that trained it.
        alias: the alias to move, such as ``champion``.
        force: move it whatever the figures say.
        tags: further tags of the version.

    Raises:
        TrackingError: the store refuses or does not answer.
        ConfigError: the name cannot be that of a model.
    """
    check_model_name(name, "--name")

    def find_or_create(client: "MlflowClient") -> tuple[str, bool]:
        for version in _versions(client, name):
            if all(version.tags.get(tag) == candidate.tags.get(tag) for tag in (CHECKPOINT_TAG, THRESHOLDS_TAG)):
                return str(version.version), False
        model = _log_model(client, run_id, candidate, "best", candidate.metrics)
        _ensure_registered(client, name)
        made = client.create_model_version(
            name,
            model.artifact_location,  # the registry would look for models:/ID in its default store
            run_id,
            tags={**candidate.tags, **(tags or {})},
            description=candidate.description(),
            model_id=model.model_id,
            await_creation_for=0,
        )
        return str(made.version), True

    with _quiet():
        version, new = tracker.call(find_or_create, f"register '{name}'", long=True)
        if alias is None:
            return Registered(name, version, new)
        moved, why = tracker.call(partial(move_alias, name, alias, version, force), f"set alias '{alias}'")
    return Registered(name, version, new, moved, why)


def log_epoch(tracker: Tracker, run_id: str, file: Path) -> str:
    """Store the checkpoint of one epoch as a logged model of the run, with that epoch's figures; return its id.

    Args:
        tracker: the store.
        run_id: the run that trained it.
        file: written by a run that keeps every epoch.

    Raises:
        TrackingError: the store refuses or does not answer.
        CheckpointError: the network takes no images.
    """
    candidate = Candidate.read(file)
    epoch = int(candidate.tags["plml.epoch"])
    label = f"epoch-{epoch:03d}"
    figures = {
        key: value
        for key, value in candidate.metrics.items()
        if key.startswith(("val/", "val_observed/", "selection/", "diagnosis/"))
    }

    def store(client: "MlflowClient") -> str:
        return str(_log_model(client, run_id, candidate, label, figures, step=epoch).model_id)

    with _quiet():
        return tracker.call(store, f"store epoch {epoch} of run {run_id}", long=True)


def run_of_checkpoint(tracker: Tracker, candidate: Candidate) -> str:
    """Return the run that trained a checkpoint if the store has it, or a new one that stands for it.

    Raises:
        TrackingError: the store refuses or does not answer.
    """
    fingerprint, config = candidate.tags["plml.fingerprint"], candidate.predictor.config

    def find(client: "MlflowClient") -> str | None:
        places = [one.experiment_id for one in client.search_experiments()]
        query = f"tags.`plml.fingerprint` = '{fingerprint}'"
        found = client.search_runs(places, query, max_results=1) if places else []
        return next((run.info.run_id for run in found), None)

    experiment = tracker.open_experiment(f"plml/{config.data.name}")
    run = tracker.call(find, "look for the run of the checkpoint")
    if run is not None:
        return run
    tags = {**candidate.tags, "plml.kind": "imported", "plml.state": "COMPLETE"}
    run = tracker.create_run(experiment, f"{config.method['name']}-{fingerprint[:8]}", params=config.flat(), tags=tags)
    tracker.end_run(run, "FINISHED")
    return run


def _log_model(
    client: "MlflowClient",
    run_id: str,
    candidate: Candidate,
    name: str,
    metrics: Mapping[str, float],
    *,
    step: int | None = None,
) -> "LoggedModel":
    """Create a logged model of the run, named after both, with its files and figures."""
    from mlflow.entities import LoggedModelOutput, Metric

    run, tags = client.get_run(run_id), candidate.tags
    full = "".join("-" if char in FORBIDDEN else char for char in f"{run.info.run_name}-{name}")
    shown = {key: tags[f"plml.{key}"] for key in ("method", "setting", "selection", "epoch")}
    model = client.create_logged_model(
        run.info.experiment_id, name=full, source_run_id=run_id, tags=dict(tags), params=shown, model_type="pyfunc"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            _write(path, candidate, model.model_id, run_id)
            client.log_model_artifacts(model.model_id, str(path))
    except Exception:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    at = int(tags["plml.epoch"]) if step is None else step
    stamp = _stamp(client, run_id, at)
    client.log_batch(
        run_id, metrics=[Metric(key, value, stamp, at, model_id=model.model_id) for key, value in metrics.items()]
    )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, at)])
    return model


def _stamp(client: "MlflowClient", run_id: str, epoch: int) -> int:
    """Milliseconds at which the run told an epoch: the same point told again is one point."""
    from plml.tracking_format import DELIVERED

    told = client.get_metric_history(run_id, DELIVERED)
    return next((point.timestamp for point in told if point.step == epoch), round(time.time() * 1000))


def _write(path: Path, candidate: Candidate, model_id: str, run_id: str) -> None:
    """Write the model's folder: description, code, thresholds, and a checkpoint that needs no other file."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    predictor, thresholds = candidate.predictor, candidate.thresholds
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1, len(predictor.class_names)), name=None)])
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        save_checkpoint(checkpoint, predictor.whole_checkpoint())
        artifacts = {"checkpoint": str(checkpoint)}
        metadata: dict[str, Any] = {"class_names": list(predictor.class_names), "image_size": predictor.size}
        if thresholds is not None:
            artifacts["thresholds"] = str(Path(folder) / "thresholds.json")
            thresholds.write(Path(artifacts["thresholds"]))
            metadata |= {"thresholds": thresholds.thresholds, "thresholds_chosen_by": thresholds.chosen_by}
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(CODE),
            artifacts=artifacts,
            signature=ModelSignature(outputs=outputs),
            pip_requirements=[f"plml=={__version__}"],
            metadata=metadata,
            mlflow_model=Model(model_id=model_id, run_id=run_id),
        )


def _versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    return list(client.search_model_versions(f"name = '{name}'", max_results=1000))


def _ensure_registered(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's remarks about its own interfaces are not the reader's to mend."""
    names = ("mlflow.models.model", "mlflow.pyfunc", "mlflow.utils.environment", "mlflow.types.type_hints")
    levels: dict[str, Any] = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
