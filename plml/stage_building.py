"""Everything a stage of training works with, built from its configuration: network, loss, optimiser, validation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from plml.auxiliary import Auxiliary, build_auxiliary
from plml.config import TrainConfig
from plml.data.bundle import Bundle
from plml.distributed.group import Group
from plml.errors import ConfigError
from plml.evaluation import Validation
from plml.labels import LabelInfo
from plml.methods import Method, build_method
from plml.models import Classifier, build_model
from plml.optim import Optimization, build_average
from plml.stage import Stage, derive_seed
from plml.stopping import StopRule, make_stop_rule
from plml.training_step import TrainingStep


@dataclass(frozen=True)
class BuiltStage:
    """What a stage works with, on its device.

    Attributes:
        model: the network that is trained.
        method: the loss and its state.
        auxiliary: a loss beside it, or None.
        steps_per_epoch: batches of an epoch.
        optimization: optimisers and schedules.
        average: averaged weights, or None.
        stop_rule: chooses the epoch and ends the stage.
        step: one optimiser step.
        observed: (N, L) training labels.
        validation: judges epochs.
    """

    model: Classifier
    method: Method
    auxiliary: Auxiliary | None
    steps_per_epoch: int
    optimization: Optimization
    average: AveragedModel | None
    stop_rule: StopRule
    step: TrainingStep
    observed: Tensor
    validation: Validation


def training_stages(config: TrainConfig, bundle: Bundle, first: Bundle | None) -> list[Stage]:
    """Return the stages of a training in their order.

    Args:
        config: what to train.
        bundle: what the last stage trains on.
        first: features of the same splits, what the first stage of ``mode: linear_init`` trains on.
    """
    stages = [Stage(bundle, config.epochs, config.optim.lr, config.optim.batch_size)]
    if config.linear_init is not None:
        if first is None:
            raise ValueError("mode linear_init needs stage_bundle, the features of the same splits")
        begin = config.linear_init
        stages.insert(0, Stage(first, begin.epochs, begin.lr, begin.batch_size))
    return stages


def build_stage(
    config: TrainConfig,
    stages: Sequence[Stage],
    number: int,
    device: torch.device,
    group: Group,
    *,
    chosen: Mapping[str, Any] | None,
) -> BuiltStage:
    """Build a stage.

    Args:
        config: what to train.
        stages: of the training, in order.
        number: of the stage to build, from 0.
        device: where to train.
        group: the processes that train together.
        chosen: the checkpoint that the earlier stage chose, whose head and method's state go on; None for the first.

    Raises:
        ConfigError: the examples do not fill one batch, or the criterion cannot judge this validation split.
    """
    stage = stages[number]
    bundle = stage.bundle
    array = bundle.train.array
    shape = (array.shape[3], *array.shape[1:3]) if bundle.train.is_images else (array.shape[1],)
    torch.manual_seed(config.seed)  # as for feature extraction: an untrained backbone is the same in all stages
    model = build_model(config.model, num_classes=len(bundle.class_names), input_shape=shape)
    labels = LabelInfo(bundle.train.observed, bundle.expected_positives, bundle.class_names, model.feature_dim)
    options = {key: value for key, value in config.method.items() if key != "name"}
    torch.manual_seed(derive_seed(config.seed, "method", number))
    method = build_method(config.method["name"], labels, options, config.compat)
    if chosen is not None:
        model.head.load_state_dict(chosen["head"])
        earlier = build_method(config.method["name"], labels, options, config.compat)
        earlier.load_state_dict(chosen["method"])
        method.continue_from(earlier)
    model, method = model.to(device), method.to(device)
    group.prepare(model)
    auxiliary = _build_auxiliary(config, labels, number, device)
    steps = _steps_per_epoch(len(bundle.train), stage.batch_size, drop_last=config.optim.drop_last)
    optim = config.optim
    if number < len(stages) - 1:  # LinearInit's first stage has a fixed rate of its own
        fixed = {"schedule": "constant", "schedule_epochs": None, "warmup_epochs": 0, "head_lr_mult": 1.0}
        optim = optim.model_copy(update=fixed)
    groups = model.param_groups(stage.lr, optim.head_lr_mult) + method.param_groups(stage.lr)
    if auxiliary:
        groups += auxiliary.param_groups(stage.lr)
    optimization = Optimization(optim, stage.lr, groups, steps, stage.epochs)
    average = build_average(config.optim, model)
    stop_rule = make_stop_rule(config.stopping.rule, patience=config.stopping.patience)
    step = TrainingStep(config, model, method, auxiliary, optimization, average, bundle.flip, group)
    validation = Validation.of(bundle.val, device, bundle.expected_positives)
    validation.judge(config.choosing, config.data.observation)  # refuses what it cannot do before compute
    observed = bundle.train.observed.to(device)
    return BuiltStage(model, method, auxiliary, steps, optimization, average, stop_rule, step, observed, validation)


def _build_auxiliary(config: TrainConfig, labels: LabelInfo, number: int, device: torch.device) -> Auxiliary | None:
    if config.auxiliary is None:
        return None
    options = {key: value for key, value in config.auxiliary.items() if key != "name"}
    torch.manual_seed(derive_seed(config.seed, "auxiliary", number))
    return build_auxiliary(config.auxiliary["name"], labels, options).to(device)


def _steps_per_epoch(count: int, size: int, *, drop_last: bool) -> int:
    steps = count // size if drop_last else math.ceil(count / size)
    if steps == 0:
        raise ConfigError(
            f"optim.drop_last: {count} training examples do not fill one batch of {size}; lower optim.batch_size"
        )
    return steps
