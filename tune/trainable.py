"""One trial of a study, as a worker runs it, told entirely by a plain dictionary.

Everything a trial learns is on disk and in MLflow before it is reported, because a scheduler stops a trial
inside ``report``. A trial that cannot be trained is an outcome that is reported, not an exception; exceptions
are for trouble that another attempt may not meet.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock

from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle
from plml.data.shared import SharedBundles
from plml.device import pick_device
from plml.distributed import ALONE, Group
from plml.errors import ConfigError, DamagedError, DataError, DivergenceError, PlmlError, nearest
from plml.heartbeat import show_life_in
from plml.out_of_memory import is_out_of_memory, release_memory
from plml.report import EpochReport
from plml.storage import storage_trouble
from plml.tracking import RunLogger, system_load
from plml.trainer import Trainer
from tune.devices import trial_group
from tune.repeats import Repeats

Outcome = Literal["running", "complete", "diverged", "out_of_memory", "rejected", "broken", "storage"]
LOCK_TIMEOUT_S = 120.0  # a worker of a driver that was killed lives on for a moment
SECOND_TRY_S = 2.0  # GPU memory of a trial that was stopped is free only after a moment
_BUNDLES = SharedBundles(most=2)


@dataclass(frozen=True)
class Task:
    """One trial, as sent to a worker.

    Attributes:
        tree: resolved configuration, nested.
        folder: run folder.
        metric: the figure that is optimised.
        mode: ``max`` or ``min``.
        seeds: the trial trains once with each, and its figures are their means; empty: the configuration's own.
        tracking_uri: MLflow store, or None.
        run_id: MLflow run to write to, or None.
        gpus: share of the GPU's memory that the trial may take, in (0, 1]; 0 without GPU; so many GPUs from 2 on.
        system_metrics: log the load of processor, memory and GPU.
        key: of the trial, where several are trained together.
        keep_epochs: leave a checkpoint of every epoch in the run folder.
    """

    tree: Mapping[str, Any]
    folder: str
    metric: str = "selection/best"
    mode: Literal["max", "min"] = "max"
    seeds: tuple[int, ...] = ()
    tracking_uri: str | None = None
    run_id: str | None = None
    gpus: float = 0.0
    system_metrics: bool = False
    key: str = ""
    keep_epochs: bool = False


@dataclass(frozen=True)
class TrialReport:
    """What a trial tells the driver.

    Attributes:
        outcome: whether it goes on, and if not, why; ``broken``: through no fault of the configuration; ``storage``:
            nothing can be written or read, so that no other trial would fare better.
        epoch: of the last evaluation, -1 before the first.
        objective: running best of the metric.
        earlier: ``(epoch, running best)`` of epochs before this one that the driver may not know of.
        detail: reason of an outcome that is not a success.
        key: of the trial, where several are trained together.
    """

    outcome: Outcome
    epoch: int = -1
    objective: float | None = None
    earlier: list[tuple[int, float]] = field(default_factory=list)
    detail: str = ""
    key: str = ""


def run_task(task: Task, report: Callable[[TrialReport], None]) -> None:
    """Train, or go on with, one trial; call ``report`` after each epoch and at least once.

    Raises:
        RuntimeError, ...: trouble that is neither the configuration's nor the storage's fault; ``error.json`` in the
            run folder says what happened.
    """
    reset_process(task)
    folder = Path(task.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.json").unlink(missing_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
            show_life_in(folder)
            _train_in_memory(task, folder, report)
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            note_error(folder, error)
            raise
        report(failure)
    finally:
        show_life_in(None)


def failure_of(error: Exception, key: str = "") -> TrialReport | None:
    """Return how to report the trial that ``error`` ended; None if that is not for the trial to tell."""
    detail = f"{type(error).__name__}: {error}"
    trouble = None if isinstance(error, DataError) else storage_trouble(error)  # one photo is not the storage
    if trouble is not None:
        return TrialReport("storage", detail=trouble, key=key)
    if isinstance(error, DivergenceError):
        return TrialReport("diverged", detail=str(error), key=key)
    if isinstance(error, DamagedError):  # since this attempt began: the next one goes on from what is whole
        return TrialReport("broken", detail=detail, key=key)
    if isinstance(error, PlmlError):
        return TrialReport("rejected", detail=detail, key=key)
    return None


def note_error(folder: Path, error: BaseException) -> None:
    """Leave a note for the driver; a disk that takes none is trouble enough."""
    with suppress(OSError):
        (folder / "error.json").write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}), encoding="utf-8")


def _train_in_memory(task: Task, folder: Path, report: Callable[[TrialReport], None]) -> None:
    """Train; if memory runs out, wait for that of a trial before to come free and go on from the last epoch."""
    for pause in (SECOND_TRY_S, 0.0):
        try:
            with trial_group(task.tree, task.gpus) as group:
                _train(task, folder, report, group)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            detail = next(iter(str(error).splitlines()), type(error).__name__)
        # Out of the except block, whose traceback keeps the failed run's tensors alive.
        release_memory()
        time.sleep(pause)
    report(TrialReport("out_of_memory", detail=detail))


def _train(task: Task, folder: Path, report: Callable[[TrialReport], None], group: Group) -> None:
    run = open_run(task, folder, group)
    logger = RunLogger(task.tracking_uri, task.run_id)
    best: list[tuple[int, float]] = []
    for past in run.history:
        best.append(running_best(task, best, past))
    if run.finished:  # it ended before the driver heard of it: tell again, never return in silence
        report(TrialReport("complete", *best[-1], earlier=best[:-1]))
        return
    told = False
    watched = task.tracking_uri if task.system_metrics else None
    # Closed at once when ``report`` ends the trial, so that its record is written.
    with system_load(watched, task.run_id), closing(run.epochs()) as epochs:
        for epoch in epochs:
            best.append(running_best(task, best, epoch))
            logger.log(epoch)
            outcome: Outcome = "complete" if epoch.final else "running"
            report(TrialReport(outcome, *best[-1], earlier=[] if told else best[:-1]))
            told = True


def open_run(task: Task, folder: Path, group: Group = ALONE) -> "Trainer | Repeats":
    """Open the trial's run on the devices of ``group``: one trainer, or one a seed in lockstep."""
    config, kept = make_config(task.tree), task.keep_epochs
    if not task.seeds:
        return open_trainer(config, folder, keep_epochs=kept, group=group)
    return Repeats(
        [
            open_trainer(
                config.model_copy(update={"seed": seed}), folder / f"seed_{seed}", keep_epochs=kept, group=group
            )
            for seed in task.seeds
        ],
        folder,
    )


def open_trainer(config: TrainConfig, folder: Path, *, keep_epochs: bool = False, group: Group = ALONE) -> Trainer:
    """Return the trainer of a configuration; data that the process has loaded before is used again."""
    if config.mode != "linear_init":
        return Trainer(config, cached_bundle(config), folder, keep_epochs=keep_epochs, group=group)
    stage = config.model_copy(update={"mode": "linear", "linear_init": None})
    features = cached_bundle(stage)
    return Trainer(config, cached_bundle(config), folder, stage_bundle=features, keep_epochs=keep_epochs, group=group)


def cached_bundle(config: TrainConfig) -> Bundle:
    """Return the data of a configuration, shared by all trials of this process that read the same."""
    return _BUNDLES.read(config, pick_device(config.device))


def running_best(task: Task, best: list[tuple[int, float]], report: EpochReport) -> tuple[int, float]:
    """Return ``(epoch, best value so far)``; raise ConfigError if the run does not report the metric."""
    if task.metric not in report.metrics:
        hint = nearest(task.metric, report.metrics)
        raise ConfigError(f"objective.metric: a run does not report '{task.metric}'{hint}")
    value = float(report.metrics[task.metric])
    if best:
        value = max(value, best[-1][1]) if task.mode == "max" else min(value, best[-1][1])
    return report.epoch, value


def reset_process(task: Task) -> None:
    """Undo what an earlier trial in this worker may have left behind."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    release_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        if 0 < task.gpus <= 1:
            torch.cuda.set_per_process_memory_fraction(task.gpus)
