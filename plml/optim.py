"""Optimisers with their schedules, and averaged weights, of one training stage."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from plml.config import OptimConfig
from plml.schedules import DynamicRate, build_schedule


class Optimization:
    """Steps every parameter: one optimiser for the network and whoever shares it, more where a group asks for its own.

    Args:
        config: optimiser, rates and schedule.
        lr: base learning rate, > 0, which the dynamic schedule starts from.
        groups: parameter groups with their ``lr``; the key ``optimizer`` names another kind than ``config.name``.
        steps_per_epoch: optimiser steps of an epoch.
        epochs: epochs of the stage.
    """

    def __init__(
        self, config: OptimConfig, lr: float, groups: Sequence[dict[str, Any]], steps_per_epoch: int, epochs: int
    ) -> None:
        self.config = config
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for group in groups:
            kind = group.get("optimizer", config.name)
            rest = {key: value for key, value in group.items() if key != "optimizer"}
            by_kind.setdefault(kind, []).extend(_decay_split(rest, config))
        self.optimizers = [_optimizer(kind, config, lr, members) for kind, members in by_kind.items()]
        self.schedules = [build_schedule(config, each, steps_per_epoch, epochs) for each in self.optimizers]
        self.dynamic: DynamicRate | None = None
        if config.schedule == "dynamic":
            self.dynamic = DynamicRate(
                lr,
                signal=config.dynamic_signal,
                decay=config.dynamic_decay,
                limit=config.dynamic_limit,
                wait=config.dynamic_wait,
            )
        self._base_rates = [[group["lr"] for group in each.param_groups] for each in self.optimizers]

    @property
    def lr(self) -> float:
        """Rate of the first group at the next step."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Step every optimiser, then every schedule."""
        for optimizer in self.optimizers:
            optimizer.step()
        if self.dynamic is None:
            for schedule in self.schedules:
                schedule.step()

    @property
    def is_constant(self) -> bool:
        """Whether the rate stays as it is until the next evaluation."""
        return self.dynamic is not None or (self.config.schedule == "constant" and not self.config.warmup_epochs)

    def advance(self, steps: int = 1) -> None:
        """Move the schedules on where somebody else steps the optimisers."""
        if self.dynamic is not None:
            return
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            if self.is_constant:
                schedule.last_epoch += steps
                schedule._step_count += steps
                continue
            optimizer._opt_called = True  # type: ignore[attr-defined] # it was stepped, though not by its own method
            for _ in range(steps):
                schedule.step()

    def after_evaluation(self, value: float) -> None:
        """Tell the schedule the selection figure of the epoch that was just evaluated."""
        if self.dynamic is None:
            return
        self.dynamic.update(value)
        for optimizer, rates in zip(self.optimizers, self._base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * self.dynamic.factor

    def state_dict(self) -> dict[str, Any]:
        """Return moments and places in the schedules."""
        return {
            "optimizers": [each.state_dict() for each in self.optimizers],
            "schedules": [each.state_dict() for each in self.schedules],
            "dynamic": None if self.dynamic is None else self.dynamic.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict` over the same parameters."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            _lay_out_state(optimizer)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self.dynamic is not None:
            self.dynamic.load_state_dict(state["dynamic"])


def _decay_split(group: dict[str, Any], config: OptimConfig) -> Iterable[dict[str, Any]]:
    """Without ``decay_biases``, parameters of one axis (biases, normalisation) are a group free of weight decay."""
    if config.decay_biases or "weight_decay" in group or not config.weight_decay:
        return [group]
    params = list(group["params"])
    long, short = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
    return [
        {**group, "params": members, **extra}
        for members, extra in ((long, {}), (short, {"weight_decay": 0.0}))
        if members
    ]


def _optimizer(kind: str, config: OptimConfig, lr: float, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # Fused: one kernel reads and writes each number once. torch has none of rmsprop.
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    if kind == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            lr=lr,
            alpha=config.rmsprop_decay,
            momentum=config.momentum,
            eps=config.rmsprop_eps,
            weight_decay=config.weight_decay,
        )
    return torch.optim.Adam(groups, lr=lr, weight_decay=config.weight_decay, fused=True)


def _lay_out_state(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their parameters: fused kernels walk through both in storage order."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def build_average(config: OptimConfig, model: nn.Module) -> AveragedModel | None:
    """Return the exponential moving average of weights and batch statistics, or None when it is off."""
    if config.ema_decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
