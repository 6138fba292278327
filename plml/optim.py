"""Optimiser, learning-rate schedule and averaged weights of one training stage."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from plml.config import OptimConfig
from plml.methods import Method
from plml.models import Classifier

ONECYCLE_RISE = 0.2  # share of the steps on which the rate rises (ASL, CSL and Hill/SPLC scripts)


def build_optimizer(config: OptimConfig, lr: float, model: Classifier, method: Method) -> torch.optim.Optimizer:
    """Return the optimiser over backbone, head and the method's own parameters.

    Args:
        lr: learning rate of the backbone, > 0; the head learns ``head_lr_mult`` times as fast.
    """
    groups = model.param_groups(lr, config.head_lr_mult) + method.param_groups(lr)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.Adam(groups, lr=lr, weight_decay=config.weight_decay)


def lr_factor(config: OptimConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return what the base rate is multiplied by at 0-based ``step``; pure, so a resumed run needs no memory.

    Linear warm-up from 1/warm-up to 1 over ``warmup_epochs``, then constant, cosine to zero, or steps.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, epochs * steps_per_epoch - warmup)))
    if config.schedule == "step":
        return float(config.step_gamma ** (step // steps_per_epoch // config.step_epochs))
    return 1.0


def build_schedule(
    config: OptimConfig, optimizer: torch.optim.Optimizer, steps_per_epoch: int, epochs: int
) -> LRScheduler:
    """Return the schedule, advanced once a step."""
    if config.schedule == "onecycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, rates, epochs=epochs, steps_per_epoch=steps_per_epoch, pct_start=ONECYCLE_RISE)
    return LambdaLR(optimizer, lambda step: lr_factor(config, step, steps_per_epoch, epochs))


def build_average(config: OptimConfig, model: nn.Module) -> AveragedModel | None:
    """Return the exponential moving average of the weights (buffers are copied), or None when it is off."""
    if config.ema_decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
