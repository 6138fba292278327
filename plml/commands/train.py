"""``plml train``: one run in the terminal, resumable, with a progress bar and a closing summary."""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from plml.cli import DONE, FAILED, INTERRUPTED
from plml.config import TrainConfig, load_config
from plml.data.load import load_bundle
from plml.device import pick_device
from plml.distributed import ALONE, DeviceGroupError, Group, open_group
from plml.distributed.opening import check_devices
from plml.errors import CheckpointError
from plml.interrupt import stop_request
from plml.matrix_figure import draw_matrices
from plml.models.weights import find_weights
from plml.terminal import terminal
from plml.tracking import RunLogger, Tracker, check_uri
from plml.trainer import Trainer
from plml.training_progress import TrainingProgress


def run(options: argparse.Namespace) -> int:
    """Train ``options.config`` with its assignments applied; return an exit code."""
    config = load_config(options.config, options.assignments)
    check_devices(config, options.devices)
    if options.tracking_uri:
        check_uri(options.tracking_uri)
    if options.download and config.model.weights:
        find_weights(config.model, download=True)
    folder = Path(options.output_dir or Path("runs") / f"{config.method['name']}-{config.fingerprint[:8]}")
    if options.fresh and (folder / "config.yaml").is_file():
        shutil.rmtree(folder)
    try:
        with _hold(folder), open_group(config, options.devices) as group:
            return _train(config, folder, options, group)
    except DeviceGroupError as error:
        text = f"{error}; the same command goes on from the last record"
        terminal.event("error", message=text)
        sys.stderr.write(f"error: {text}\n")
        return FAILED


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Let nobody else train in ``folder``; raise CheckpointError if somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise CheckpointError(
            f"{folder}: another process trains here; wait for it, or choose another folder"
        ) from error


def _train(config: TrainConfig, folder: Path, options: argparse.Namespace, group: Group) -> int:
    trainer = open_trainer(config, folder, progress=terminal.animated, group=group)
    terminal.print(f"{config.method['name']} on {config.data.name} ({config.data.observation['name']}), {config.mode}")
    terminal.print(f"run folder: {folder}", soft_wrap=True, markup=False)
    if trainer.history and not trainer.finished:
        terminal.print(f"going on after epoch {trainer.history[-1].epoch}")
    terminal.event(
        "start",
        command="train",
        folder=folder,
        method=config.method["name"],
        data=config.data.name,
        setting=config.data.observation["name"],
        fingerprint=config.fingerprint,
        epochs=config.total_epochs,
        done=len(trainer.history),
    )
    tracking = _track(options.tracking_uri, config, trainer) if options.tracking_uri else nullcontext(None)
    drawn = trainer.recorded_epochs
    with tracking as logger, stop_request() as stop, TrainingProgress(terminal, trainer) as progress:
        for report in trainer.epochs():
            progress.told(report)
            drawn = _draw(trainer, drawn)
            if logger is not None:
                logger.log(report)
            if stop and not report.final:
                break
        _draw(trainer, drawn)
    if not trainer.finished:
        again = "the same command without --fresh" if options.fresh else "the same command"
        terminal.event("unfinished", reason="interrupted", ended=len(trainer.history), epochs=config.total_epochs)
        terminal.result(f"stopped after epoch {trainer.history[-1].epoch}; {again} goes on from there", soft_wrap=True)
        return INTERRUPTED
    _summarise(config, trainer, folder)
    return DONE


def _draw(trainer: Trainer, drawn: int) -> int:
    """Draw the matrices of the epochs that were recorded since; return how many epochs are drawn now."""
    recorded = trainer.recorded_epochs
    if recorded > drawn:
        draw_matrices(trainer.files.path, [report.epoch for report in trainer.history[drawn:recorded]])
    return recorded


def open_trainer(config: TrainConfig, folder: Path, *, progress: bool = False, group: Group = ALONE) -> Trainer:
    """Load the data that ``config.mode`` needs and open (or continue) the run in ``folder``."""
    device = pick_device(config.device)
    bundle = load_bundle(config, device=device, progress=progress)
    if config.mode != "linear_init":
        return Trainer(config, bundle, folder, group=group)
    stage = config.model_copy(update={"mode": "linear", "linear_init": None})
    features = load_bundle(stage, device=device, progress=progress)
    return Trainer(config, bundle, folder, stage_bundle=features, group=group)


def _summarise(config: TrainConfig, trainer: Trainer, folder: Path) -> None:
    metrics = trainer.history[-1].metrics
    terminal.event(
        "result",
        folder=folder,
        checkpoint=folder / "best.pt",
        best_epoch=int(metrics["selection/best_epoch"]),
        selected_by=config.selected_by,
        metrics={name: value for name, value in metrics.items() if name.startswith(("test/", "selection/"))},
    )
    terminal.result(
        f"test mAP {metrics['test/mAP']:.4f} at epoch {metrics['selection/best_epoch']:.0f}, chosen by "
        f"{config.selected_by} of the validation split ({metrics['selection/best']:.4f})",
        soft_wrap=True,
    )
    terminal.result(f"to score it again: plml evaluate {folder / 'best.pt'}", soft_wrap=True, markup=False)


@contextmanager
def _track(uri: str, config: TrainConfig, trainer: Trainer) -> Iterator[RunLogger]:
    """Open an MLflow run for this training and close it with the state that training ended in."""
    tracker = Tracker(uri)
    experiment = tracker.open_experiment(f"plml/{config.data.name}")
    bundle = trainer.stage.bundle
    tags = {
        "plml.kind": "train",
        "plml.state": "RUNNING",
        "plml.method": config.method["name"],
        "plml.setting": config.data.observation["name"],
        "plml.seed": str(config.seed),
        "plml.observation_seed": str(config.data.observation_seed),
        "plml.fingerprint": config.fingerprint,
        "plml.selection": config.selected_by,
        "plml.selection_clean": str(config.selection.labels == "clean").lower(),
        "plml.data": bundle.digest[:16],
        "plml.folder": str(trainer.files.path.absolute()),
    }
    name = f"{config.method['name']}-{config.fingerprint[:8]}"
    run_id = tracker.create_run(experiment, name, params=config.flat(), tags=tags)
    tracker.log_dataset(
        run_id,
        name=config.data.name,
        digest=bundle.digest,
        setting=config.data.observation["name"],
        source=config.data.root or "",
    )
    logger = RunLogger(uri, run_id)
    try:
        yield logger
    finally:
        tracker.log_reports(run_id, trainer.history)
        for picture in draw_matrices(trainer.files.path):
            tracker.log_artifact(run_id, picture, "matrices")
        state = "COMPLETE" if trainer.finished else "INTERRUPTED"
        status = "FINISHED" if trainer.finished else "KILLED"
        tracker.end_run(run_id, status, {"plml.state": state})  # type: ignore[arg-type]
