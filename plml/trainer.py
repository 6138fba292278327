"""The training loop, read from top to bottom: epoch, evaluation, record, report.

``Trainer.epochs()`` is a generator; the caller logs, reports, prunes or stops. A caller that closes it leaves a
complete record behind; one that is killed loses at most the little that :mod:`plml.pace` allows, and a new Trainer on
the same folder goes on, bit for bit on CPU.
"""

import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.auxiliary import Auxiliary, build_auxiliary
from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.data.resident import resident
from plml.device import pick_device
from plml.diagnostics import label_correction
from plml.errors import ConfigError, DivergenceError
from plml.evaluation import Validation, epoch_test_figures, test_result
from plml.host_memory import keep_freed_memory
from plml.labels import LabelInfo
from plml.methods import Method, build_method
from plml.models import Classifier, build_model
from plml.optim import Optimization, build_average
from plml.pace import Pace
from plml.report import EpochReport
from plml.run_folder import RunFolder
from plml.scoring import score
from plml.stage import Stage, derive_seed
from plml.stopping import make_stop_rule
from plml.training_step import TrainingStep


class Trainer:
    """One run of a configuration in a folder of its own.

    Args:
        config: what to train.
        bundle: splits with the inputs that ``config.mode`` trains on.
        folder: keeps checkpoints, scores and metrics; an earlier run of the same configuration is continued.
        stage_bundle: features of the same splits, for the first stage of ``mode: linear_init``.
        keep_epochs: leave a checkpoint of every epoch in the folder, not only of the chosen one.

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
    ) -> None:
        self.config, self.keep_epochs = config, keep_epochs
        self.device = pick_device(config.device)
        self.stages = [Stage(bundle, config.epochs, config.optim.lr, config.optim.batch_size)]
        if config.linear_init is not None:
            if stage_bundle is None:
                raise ValueError("mode linear_init needs stage_bundle, the features of the same splits")
            first = config.linear_init
            self.stages.insert(0, Stage(stage_bundle, first.epochs, first.lr, first.batch_size))
        self.history: list[EpochReport] = []
        self.progress = 0.0
        self.epoch = 0  # the next one, counted through all stages
        self.finished = False
        self.recorded_epochs = 0
        self.in_epoch = False  # whether weights and state are those of no complete epoch
        self.files = RunFolder(folder, config, bundle)
        self.pace = Pace()
        self._start_stage(0)
        record = self.files.open(self.device)
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
            began = time.perf_counter()
            torch.manual_seed(derive_seed(self.config.seed, "epoch", self.epoch))
            try:
                train = self._train_epoch()
                if self.config.diagnostics is not None:
                    split = self.stage.bundle.train
                    train |= label_correction(self.method, split, self.scores(split))
                logits = self.scores(self.stage.bundle.val)
                [(figures, value)] = self.validation.figures(logits[None], [self.config])
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
        config, bundle = self.config, self.stage.bundle
        array = bundle.train.array
        shape = (array.shape[3], *array.shape[1:3]) if bundle.train.is_images else (array.shape[1],)
        torch.manual_seed(config.seed)  # as for feature extraction: an untrained backbone is the same in both stages
        model = build_model(config.model, num_classes=len(bundle.class_names), input_shape=shape)
        labels = LabelInfo(bundle.train.observed, bundle.expected_positives, bundle.class_names, model.feature_dim)
        options = {key: value for key, value in config.method.items() if key != "name"}
        torch.manual_seed(derive_seed(config.seed, "method", number))
        method = build_method(config.method["name"], labels, options, config.compat)
        if number > 0:
            chosen = self.files.read_best()
            model.head.load_state_dict(chosen["head"])
            earlier = build_method(config.method["name"], labels, options, config.compat)
            earlier.load_state_dict(chosen["method"])
            method.continue_from(earlier)
        self.model: Classifier = model.to(self.device)
        self.method: Method = method.to(self.device)
        self.auxiliary = self._build_auxiliary(labels)
        count = len(bundle.train)
        size = self.stage.batch_size
        self.steps_per_epoch = count // size if config.optim.drop_last else math.ceil(count / size)
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"optim.drop_last: {count} training examples do not fill one batch of {size}; lower optim.batch_size"
            )
        lr = self.stage.lr
        optim = config.optim
        if number < len(self.stages) - 1:  # LinearInit's first stage has a fixed rate of its own
            fixed = {"schedule": "constant", "schedule_epochs": None, "warmup_epochs": 0, "head_lr_mult": 1.0}
            optim = optim.model_copy(update=fixed)
        groups = self.model.param_groups(lr, optim.head_lr_mult) + self.method.param_groups(lr)
        if self.auxiliary:
            groups += self.auxiliary.param_groups(lr)
        self.optimization = Optimization(optim, lr, groups, self.steps_per_epoch, self.stage.epochs)
        self.average = build_average(config.optim, self.model)
        self.stop_rule = make_stop_rule(config.stopping.rule, patience=config.stopping.patience)
        self.step = TrainingStep(
            config, self.model, self.method, self.auxiliary, self.optimization, self.average, bundle.flip
        )
        self.observed = bundle.train.observed.to(self.device)
        self.validation = Validation.of(bundle.val, self.device, bundle.expected_positives)
        self.validation.judge(config.choosing, config.data.observation)  # refuses what it cannot do before compute

    def _build_auxiliary(self, labels: LabelInfo) -> Auxiliary | None:
        if self.config.auxiliary is None:
            return None
        options = {key: value for key, value in self.config.auxiliary.items() if key != "name"}
        torch.manual_seed(derive_seed(self.config.seed, "auxiliary", self.stage_number))
        return build_auxiliary(self.config.auxiliary["name"], labels, options).to(self.device)

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
        split, size = self.stage.bundle.train, self.stage.batch_size
        order, flips = self.order()
        self.begin_epoch()
        lr = self.optimization.lr
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        auxiliary = torch.zeros((), dtype=torch.float64, device=self.device)
        seen = 0
        device_order, flips = order.to(self.device), flips.to(self.device)  # once an epoch, not once a step
        for number in range(self.steps_per_epoch):
            places = slice(number * size, (number + 1) * size)
            index = device_order[places]
            crops = self._crops(split, order[places])
            inputs = crops if crops is not None and not self.step.views else self._inputs(split, order[places], index)
            mirrored = flips[places] if split.is_images else None
            loss, beside = self.step(inputs, self.observed[index], index, mirrored, crops)
            count = len(order[places])
            total += loss * count
            auxiliary += beside * count
            seen += count
            self.progress = (number + 1) / self.steps_per_epoch
        extra = {f"train/{self.auxiliary.name}": auxiliary / seen} if self.auxiliary else {}
        return self.train_figures(total / seen, lr, extra)

    def order(self) -> tuple[Tensor, Tensor]:
        """Return the order (N,) of this epoch's examples, and by place in it whether to mirror (N,) bool."""
        split = self.stage.bundle.train
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "order", self.epoch))
        order = torch.randperm(len(split), generator=generator)
        flips = torch.rand(len(split), generator=generator) < 0.5
        if not (self.stage.bundle.flip and split.is_images):
            flips[:] = False
        return order, flips

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
        read = torch.stack([value.detach().double().to(self.device) for value in figures.values()]).tolist()
        if not math.isfinite(read[0]):
            raise DivergenceError(f"the training loss is {read[0]} in epoch {self.epoch} (learning rate {lr:g})")
        return {**dict(zip(figures, read, strict=True)), "train/lr": lr}

    def _inputs(self, split: Split, index: Tensor, device_index: Tensor) -> Tensor:
        """Inputs of the examples ``index`` (B,), given on the host and on the device; small splits live there."""
        whole = resident(split, self.device)
        if whole is None:
            inputs = split.gather(index)
            if self.device.type == "cuda":
                inputs = inputs.pin_memory()  # only from there does a copy run beside the network
            return inputs.to(self.device, non_blocking=True)
        return whole[device_index]

    def _crops(self, split: Split, index: Tensor) -> Tensor | None:
        """Random boxes cut from the photos of ``index`` (B,), on the device; None where the split has no photos."""
        if split.sources is None or self.config.data.crop_scale is None:
            return None
        return split.gather_crops(index, self.config.data.crop_scale, self.device)

    # -- evaluation ---------------------------------------------------------------------------------------

    def scores(self, split: Split) -> Tensor:
        """Return logits (N, L) float32 of every example of ``split``, on the device."""
        return score(
            self.evaluated,
            len(split),
            lambda index: self._inputs(split, index, index.to(self.device)),
            precision=self.config.precision,
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
        split = self.stage.bundle.train
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "scores", self.epoch, when))
        flips = (torch.rand(len(split), generator=generator) < 0.5).to(self.device)
        flipping = self.stage.bundle.flip and split.is_images

        def fetch(index: Tensor) -> Tensor:
            inputs = self._inputs(split, index, index.to(self.device))
            return torch.where(flips[index, None, None, None], inputs.flip(-1), inputs) if flipping else inputs

        return score(self.model, len(split), fetch, precision=self.config.precision)

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
            chosen = self.files.read_best()
            current = {key: value.clone() for key, value in self.evaluated.state_dict().items()}
            self.evaluated.load_state_dict(chosen["model"])
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
