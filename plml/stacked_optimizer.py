"""Optimiser steps of K runs whose tensors are slabs: each run with rates, decay and moments of its own.

On a CPU one fused call a run is fastest: its weights and moments stay in the cache while they are updated. On a GPU
every call costs a launch, so there the same update is one chain of operations over all slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plml.stacked_state import Slab

MOMENTS: Mapping[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.Adam: ("exp_avg", "exp_avg_sq"),
    torch.optim.SGD: ("momentum_buffer",),  # zeros at first: the first step then gives what a fresh buffer gives
}


@dataclass
class _Group:
    """One parameter group of one run, as the fused kernels take it."""

    options: dict[str, Any]
    names: list[str]
    parameters: list[Tensor]
    gradients: list[Tensor]
    moments: list[list[Tensor]]  # one list a moment
    steps: list[Tensor]  # Adam's counts of steps, 0-d


class StackedOptimizer:
    """Steps the optimisers of K runs.

    Args:
        kind: Adam or SGD, as all runs have it.
        parameters: slabs of everything that is trained, by name.
        gradients: slabs of the same names that hold the gradients at :meth:`step`.
        fused: one fused call a run, instead of one chain of operations for all; default: on the CPU.
    """

    def __init__(
        self,
        kind: type[torch.optim.Optimizer],
        parameters: Mapping[str, Slab],
        gradients: Mapping[str, Slab],
        *,
        fused: bool | None = None,
    ) -> None:
        self.kind, self.parameters, self.gradients = kind, parameters, gradients
        device = next(iter(parameters.values())).whole.device
        self.fused = device.type == "cpu" if fused is None else fused
        self.moments = {
            name: {moment: Slab(slab.rows[0], len(slab.rows)) for moment in MOMENTS[kind]}
            for name, slab in parameters.items()
        }
        slots = len(next(iter(parameters.values())).rows)
        # Adam keeps its counts on the host unless it is fused on a GPU, and so do we.
        self.counts = {name: Slab(torch.zeros(()), slots) for name in parameters}
        self._groups: dict[int, list[_Group]] = {}

    def join(self, slot: int, optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> None:
        """Take over the state of a run's optimiser, fresh or resumed: it lives in the slabs from now on.

        Args:
            slot: of the run.
            optimizer: its optimiser.
            names: name of each of its parameters.
        """
        groups = []
        for options in optimizer.param_groups:
            mine = [names[parameter] for parameter in options["params"]]
            for parameter, name in zip(options["params"], mine, strict=True):
                state = optimizer.state[parameter]
                for moment, slab in self.moments[name].items():
                    known = state.get(moment)
                    state[moment] = slab.take(slot, torch.zeros_like(parameter) if known is None else known)
                if self.kind is torch.optim.Adam:
                    state["step"] = self.counts[name].take(slot, state.get("step", torch.zeros(())))
            groups.append(
                _Group(
                    options,
                    mine,
                    [self.parameters[name].rows[slot] for name in mine],
                    [self.gradients[name].rows[slot] for name in mine],
                    [[self.moments[name][moment].rows[slot] for name in mine] for moment in MOMENTS[self.kind]],
                    [self.counts[name].rows[slot] for name in mine],
                )
            )
        self._groups[slot] = groups

    def leave(self, slot: int, optimizer: torch.optim.Optimizer) -> None:
        """Give a run's optimiser a state of its own again."""
        del self._groups[slot]
        for parameter, state in optimizer.state.items():
            state.update({key: value.clone() for key, value in state.items() if isinstance(value, Tensor)})
            if "step" in state:  # there the optimiser's own fused step looks for it
                state["step"] = state["step"].to(parameter.device)

    @torch.no_grad()
    def step(self) -> None:
        """Update every run that has joined."""
        for count in self.counts.values():
            count.whole.add_(1.0)  # one operation for all runs; what free slots count is overwritten by who joins
        if not self.fused:
            self._step_all()
            return
        for groups in self._groups.values():
            for group in groups:
                if self.kind is torch.optim.Adam:
                    _fused_adam(group)
                else:
                    _fused_sgd(group)

    def _step_all(self) -> None:
        """The update of all slots at once; free slots stay as they are, because their rate is 0."""
        for name, slab in self.parameters.items():
            device, slots = slab.whole.device, len(slab.rows)
            mine = {
                slot: group.options for slot, groups in self._groups.items() for group in groups if name in group.names
            }

            def column(
                values: Mapping[int, float], slab: Slab = slab, slots: int = slots, device: torch.device = device
            ) -> Tensor:
                """One value a slot (K, 1, ...)."""
                flat = torch.tensor([values.get(slot, 0.0) for slot in range(slots)], dtype=slab.whole.dtype)
                return flat.view(-1, *[1] * (slab.whole.ndim - 1)).to(device, non_blocking=True)

            gradient = self.gradients[name].whole
            decay = {slot: options["weight_decay"] for slot, options in mine.items()}
            if any(decay.values()):
                gradient = gradient + column(decay) * slab.whole
            lr = {slot: options["lr"] for slot, options in mine.items()}
            if self.kind is torch.optim.SGD:
                moment = self.moments[name]["momentum_buffer"].whole
                moment.mul_(column({slot: options["momentum"] for slot, options in mine.items()})).add_(gradient)
                slab.whole.sub_(column(lr) * moment)
                continue
            first, second = (self.moments[name][moment].whole for moment in MOMENTS[self.kind])
            steps = {slot: float(self.counts[name].rows[slot]) for slot in mine}
            options = next(iter(mine.values()))  # epsilon is the same for all; betas may follow a schedule
            beta1 = column({slot: each["betas"][0] for slot, each in mine.items()})
            beta2 = column({slot: each["betas"][1] for slot, each in mine.items()})
            first.lerp_(gradient, 1.0 - beta1)
            second.mul_(beta2).add_((1.0 - beta2) * gradient * gradient)
            rate = {slot: lr[slot] / (1.0 - each["betas"][0] ** steps[slot]) for slot, each in mine.items()}
            root = {slot: (1.0 - each["betas"][1] ** steps[slot]) ** 0.5 for slot, each in mine.items()}
            scale = column(root | dict.fromkeys(set(range(slots)) - set(root), 1.0))
            slab.whole.sub_(column(rate) * first / (second.sqrt() / scale + options["eps"]))


def _fused_adam(group: _Group) -> None:
    options = group.options
    torch._fused_adam_(
        group.parameters,
        group.gradients,
        group.moments[0],
        group.moments[1],
        [],
        group.steps,
        lr=options["lr"],
        beta1=options["betas"][0],
        beta2=options["betas"][1],
        weight_decay=options["weight_decay"],
        eps=options["eps"],
        amsgrad=False,
        maximize=False,
    )


def _fused_sgd(group: _Group) -> None:
    options = group.options
    torch._fused_sgd_(
        group.parameters,
        group.gradients,
        group.moments[0] if options["momentum"] else [],
        weight_decay=options["weight_decay"],
        momentum=options["momentum"],
        lr=options["lr"],
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )
