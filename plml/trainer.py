"""The training loop, read from top to bottom: epoch, evaluation, record, report.

``Trainer.epochs()`` is a generator; the caller logs, reports, prunes or stops. A caller that closes it leaves a
complete record behind; one that is killed loses at most the little that :mod:`plml.pace` allows, and a new Trainer on
the same folder goes on, bit for bit on CPU.
"""

import math
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.auxiliary import Auxiliary
from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.diagnostics import label_correction
from plml.distributed.group import ALONE, Group
from plml.errors import DivergenceError
from plml.evaluation import epoch_test_figures, test_result
from plml.feeding import batches, fetch_inputs, mirrored_inputs, training_order
from plml.host_memory import keep_freed_memory
from plml.methods import Method
from plml.models import Classifier
from plml.pace import Pace
from plml.report import EpochReport
from plml.scoring import score
from plml.stage import derive_seed
from plml.stage_building import build_stage, training_stages


class Trainer:
    """One run of a configuration in a folder of its own.

    Args:
        config: what to train.
        bundle: splits with the inputs that ``config.mode`` trains on.
        folder: keeps checkpoints, scores and metrics; an earlier run of the same configuration is continued.
        stage_bundle: features of the same splits, for the first stage of ``mode: linear_init``.
        keep_epochs: leave a checkpoint of every epoch in the folder, not only of the chosen one.
        group: processes that train together, see :mod:`plml.distributed`; every one has a trainer of its own.

    Attributes:
        history: every report so far, those before an interruption included.
        recorded_epochs: how many of them are in the record; a run that is killed trains the rest again.
        progress: share of the current epoch's steps that are done, in [0, 1].

    Raises:
        CheckpointError: the folder belongs to another configuration or data set, or is damaged.
    """

    def __init__(
        self,
        config: TrainConfig,
        bundle: Bundle,
        folder: Path,
        *,
        stage_bundle: Bundle | None = None,
        keep_epochs: bool = False,
        group: Group = ALONE,
    ) -> None:
        self.config, self.keep_epochs, self.group = config, keep_epochs, group
        self.device = group.device(config)
        self.stages = training_stages(config, bundle, stage_bundle)
        self.history: list[EpochReport] = []
        self.progress = 0.0
        self.epoch = 0  # the next one, counted through all stages
        self.finished = False
        self.recorded_epochs = 0
        self.in_epoch = False  # whether weights and state are those of no complete epoch
        self.files = group.open_run(config, bundle, folder)
        self.pace = Pace()
        self._start_stage(0)
        record = group.from_leader(lambda: self.files.open(self.device))
        if record is not None:
            self._resume(record)

    def epochs(self) -> Generator[EpochReport, None, None]:
        """Train, yielding after each evaluated epoch. Stop iterating to stop training.

        Raises:
            DivergenceError: the loss or a validation score is not finite.
        """
        torch.set_num_threads(self.config.threads)
        if self.device.type == "cpu":
            keep_freed_memory()
        while not self.finished:
            self.group.begin_epoch(self.files)
            self.group.agree(self.method, self.auxiliary)
            began = time.perf_counter()
            torch.manual_seed(derive_seed(self.config.seed, "epoch", self.epoch))
            try:
                train = self._train_epoch()
                if self.config.diagnostics is not None:
                    split = self.stage.bundle.train
                    train |= label_correction(self.method, split, self.scores(split))
                logits = self.scores(self.stage.bundle.val)
                judge = partial(self.validation.figures, logits[None], [self.config])
                [(figures, value)] = self.group.from_leader(judge)
                report = self.end_epoch(train, logits, {**figures, **self._test_by_epoch()}, value, began)
            except DivergenceError:
                self.files.write_kept()
                raise
            try:
                yield report
            except GeneratorExit:
                self.record()
                raise

    # -- building -----------------------------------------------------------------------------------------

    def _start_stage(self, number: int) -> None:
        """Build network, method and optimiser of a stage; a later stage takes the head the earlier one chose."""
        self.stage_number, self.stage = number, self.stages[number]
        self.stage_start = sum(stage.epochs for stage in self.stages[:number])
        chosen = self.group.from_leader(self.files.read_best) if number > 0 else None
        built = build_stage(self.config, self.stages, number, self.device, self.group, chosen=chosen)
        self.model: Classifier = built.model
        self.method: Method = built.method
        self.auxiliary: Auxiliary | None = built.auxiliary
        self.optimization, self.average = built.optimization, built.average
        self.step, self.steps_per_epoch, self.stop_rule = built.step, built.steps_per_epoch, built.stop_rule
        self.observed, self.validation = built.observed, built.validation

    @property
    def evaluated(self) -> Classifier:
        """The network that is scored: the averaged one when there is one."""
        if self.average is None:
            return self.model
        averaged: Classifier = self.average.module  # type: ignore[assignment]
        return averaged

    # -- training -----------------------------------------------------------------------------------------

    def _train_epoch(self) -> dict[str, float]:
        """One pass over the training split; nothing is read back from the device before its end."""
        order, flips = self.order()
        self.begin_epoch()
        lr = self.optimization.lr
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        auxiliary = torch.zeros((), dtype=torch.float64, device=self.device)
        seen = 0
        crop_scale, views = self.config.data.crop_scale, self.step.views > 0
        fed_batches = batches(
            self.stage, order, flips, self.steps_per_epoch, self.device, self.group, crop_scale=crop_scale, views=views
        )
        for number, fed in enumerate(fed_batches, start=1):
            loss, beside = self.step(fed.inputs, self.observed[fed.index], fed.index, fed.flips, fed.crops)
            count = len(fed.index)
            total += loss * count
            auxiliary += beside * count
            seen += count
            self.progress = number / self.steps_per_epoch
        extra = {f"train/{self.auxiliary.name}": auxiliary / seen} if self.auxiliary else {}
        return self.train_figures(total / seen, lr, extra)

    def order(self) -> tuple[Tensor, Tensor]:
        """Return the order (N,) of this epoch's examples, and by place in it whether to mirror (N,) bool."""
        return training_order(self.stage.bundle, self.config.seed, self.epoch)

    @torch.no_grad()
    def begin_epoch(self) -> None:
        """Set training mode and let the method prepare for the epoch."""
        self.in_epoch = True
        self.model.train()
        self.method.train()
        self.method.on_epoch_start(self.epoch - self.stage_start, lambda: self._training_scores("start"))
        self.model.train()

    @torch.no_grad()
    def train_figures(self, loss: Tensor, lr: float, extra: dict[str, Tensor]) -> dict[str, float]:
        """Let the method end the epoch; return its training figures, read from the device at once.

        Args:
            loss: mean loss of the epoch, 0-d.
            lr: rate of its first step.
            extra: further 0-d figures.

        Raises:
            DivergenceError: the loss is not finite.
        """
        self.method.on_epoch_end(self.epoch - self.stage_start, lambda: self._training_scores("end"))
        figures = {"train/loss": loss, **{f"train/{k}": v for k, v in self.method.diagnostics().items()}, **extra}
        told = torch.stack([value.detach().double().to(self.device) for value in figures.values()])
        read = self.group.from_leader(told.tolist)
        if not math.isfinite(read[0]):
            raise DivergenceError(f"the training loss is {read[0]} in epoch {self.epoch} (learning rate {lr:g})")
        return {**dict(zip(figures, read, strict=True)), "train/lr": lr}

    # -- evaluation ---------------------------------------------------------------------------------------

    def scores(self, split: Split) -> Tensor:
        """Return logits (N, L) float32 of every example of ``split``, on the device."""
        return score(
            self.evaluated,
            len(split),
            lambda index: fetch_inputs(split, index, index.to(self.device), self.device),
            precision=self.config.precision,
            group=self.group,
        )

    def _test_by_epoch(self) -> dict[str, float]:
        """Return the test figure of this epoch if every epoch is to have one; it chooses nothing."""
        if self.config.selection.test_figures == "chosen":
            return {}
        test = self.stage.bundle.test
        [figures] = epoch_test_figures(test.truth.to(self.device), self.scores(test)[None], self.config.compat)
        return figures

    def _training_scores(self, when: str) -> Tensor:
        """Return logits (N, L) of the training split, flipped at random as in training, in evaluation mode."""
        bundle = self.stage.bundle
        fetch = mirrored_inputs(bundle, derive_seed(self.config.seed, "scores", self.epoch, when), self.device)
        return score(self.model, len(bundle.train), fetch, precision=self.config.precision, group=self.group)

    def end_epoch(
        self, train: dict[str, float], logits: Tensor, figures: dict[str, float], value: float, began: float
    ) -> EpochReport:
        """Choose, count the epoch as done, write what is due, and return the report.

        Args:
            train: training figures.
            logits: (N, L) of the validation split.
            figures: validation figures.
            value: the one that selects, percent.
            began: when the epoch began, on :func:`time.perf_counter`.

        Raises:
            DivergenceError: a validation score is not finite.
        """
        if not bool(torch.isfinite(logits).all()):
            raise DivergenceError(f"validation scores are not finite in epoch {self.epoch}")
        improved = self.stop_rule.update(self.epoch, value)
        self.optimization.after_evaluation(value)
        metrics = {
            **train,
            **figures,
            "selection/value": value,
            "selection/best": self.stop_rule.best_value,
            "selection/best_epoch": float(self.stop_rule.best_epoch),
        }
        last_of_stage = self.stop_rule.stop or self.epoch + 1 == self.stage_start + self.stage.epochs
        self.finished = last_of_stage and self.stage_number == len(self.stages) - 1
        self.files.keep_scores(self.epoch, logits)
        for name, matrix in self.method.matrices().items():
            self.files.keep_matrix(self.epoch, name, matrix)
        due = self.pace.due(time.perf_counter() - began) or last_of_stage
        if improved:
            self.files.keep_best(self._best(metrics), copy=not due)
        if self.keep_epochs:
            self.files.write_epoch(self.stage.bundle, self.epoch, self._best(metrics))
        if self.finished:
            metrics |= self._finish(logits if improved else None)
        metrics["time/epoch_s"] = time.perf_counter() - began
        report = self.files.tell(EpochReport(self.epoch, metrics, time.time(), self.finished))
        self.history.append(report)
        self.epoch += 1
        self.in_epoch = False
        if due:
            self.record()
        if last_of_stage and not self.finished:
            self._next_stage()
        self.progress = 0.0
        return report

    def _next_stage(self) -> None:
        # A stage that a rule ended early leaves a gap in the epoch numbers, so that steps keep their meaning.
        self.epoch = self.stage_start + self.stage.epochs
        self._start_stage(self.stage_number + 1)
        self._write_record()

    def _finish(self, val_logits: Tensor | None) -> dict[str, float]:
        """Score test once, with the weights of the chosen epoch, and write ``result.json``."""
        bundle = self.stage.bundle
        if val_logits is None:
            chosen = self.group.from_leader(lambda: self.files.read_best()["model"])
            current = {key: value.clone() for key, value in self.evaluated.state_dict().items()}
            self.evaluated.load_state_dict(chosen)
            val_logits, test_logits = self.scores(bundle.val), self.scores(bundle.test)
            self.evaluated.load_state_dict(current)
        else:
            test_logits = self.scores(bundle.test)
        metrics, result = test_result(self.config, bundle, val_logits, test_logits)
        chosen_by = {
            "best_epoch": self.stop_rule.best_epoch,
            "selection": {**self.config.choosing.told(), "best": self.stop_rule.best_value},
        }
        self.files.write_result(bundle.test, test_logits, {**chosen_by, **result})
        return metrics

    # -- the record ---------------------------------------------------------------------------------------

    def record(self) -> None:
        """Write everything of the epochs done so far; nothing if it is written already, or an epoch broke off."""
        if self.recorded_epochs < len(self.history) and not self.in_epoch:
            self._write_record()

    def _write_record(self) -> None:
        with self.pace.recording():
            self.files.write_last(
                self.stage.bundle,
                {
                    "epoch": self.epoch,
                    "finished": self.finished,
                    "stage": self.stage_number,
                    "model": self.model.state_dict(),
                    "average": None if self.average is None else self.average.state_dict(),
                    "method": self.method.state_dict(),
                    "auxiliary": self.auxiliary.state_dict() if self.auxiliary else None,
                    "optimization": self.optimization.state_dict(),
                    "stop_rule": self.stop_rule.state_dict(),
                },
                self.history,
            )
        self.recorded_epochs = len(self.history)

    def _best(self, metrics: dict[str, float]) -> dict[str, Any]:
        """What ``best.pt`` holds of this epoch."""
        network = self.evaluated
        return {
            "epoch": self.epoch,
            "metrics": dict(metrics),  # test figures come later, and are not what it was chosen by
            "model": network.state_dict(),
            "head": network.head.state_dict(),
            "method": self.method.state_dict(),
        }

    def _resume(self, record: dict[str, Any]) -> None:
        """Go on where the record stands."""
        if record["stage"] != self.stage_number:
            self._start_stage(record["stage"])
        self.model.load_state_dict(record["model"])
        if self.average is not None:
            self.average.load_state_dict(record["average"])
        self.method.load_state_dict(record["method"])
        if self.auxiliary:
            self.auxiliary.load_state_dict(record["auxiliary"])
        self.optimization.load_state_dict(record["optimization"])
        self.stop_rule.load_state_dict(record["stop_rule"])
        self.history = [EpochReport(**report) for report in record["history"]]
        self.recorded_epochs = len(self.history)
        self.epoch, self.finished = record["epoch"], record["finished"]
        ended = self.stop_rule.stop or self.epoch >= self.stage_start + self.stage.epochs
        if ended and self.stage_number < len(self.stages) - 1:  # it was cut off while the next stage was being built
            self._next_stage()
