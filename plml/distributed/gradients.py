"""Gradients of the network summed over processes, while the backward pass goes on."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 2**24  # summed at once: enough to be worth an exchange, little enough to leave while others are computed


class GradientSum:
    """Sums gradients over all processes, in buckets that leave as soon as they are complete.

    Buckets leave in one fixed order, from the last layer's to the first's, because processes match exchanges by their
    order. A parameter without gradient is left without: the loss is the same in every process, and so is what it
    depends on.

    Args:
        parameters: of the network, from its first layer to its last.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._buckets: list[list[nn.Parameter]] = []
        room = 0
        for parameter in reversed(parameters):
            if parameter.requires_grad:
                size = parameter.numel() * parameter.itemsize
                if room < size or self._buckets[-1][0].dtype != parameter.dtype:
                    self._buckets.append([])
                    room = BUCKET_BYTES
                self._buckets[-1].append(parameter)
                room -= size
                parameter.register_post_accumulate_grad_hook(self._ready)
        self._arrived: set[Tensor] = set()
        self._sent: list[tuple[list[Tensor], Tensor, dist.Work]] = []
        self._next = 0

    def _ready(self, parameter: Tensor) -> None:
        self._arrived.add(parameter)
        while self._next < len(self._buckets) and self._arrived.issuperset(self._buckets[self._next]):
            self._send()

    def _send(self) -> None:
        grads = [parameter.grad for parameter in self._buckets[self._next] if parameter.grad is not None]
        self._next += 1
        if grads:
            flat = torch.cat([grad.flatten() for grad in grads])
            work = dist.all_reduce(flat, async_op=True)
            assert work is not None  # it is None for processes outside the group
            self._sent.append((grads, flat, work))

    def finish(self) -> None:
        """Wait until every gradient is the sum; called after each backward pass."""
        while self._next < len(self._buckets):
            self._send()
        for grads, flat, work in self._sent:
            work.wait()
            for grad, total in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
                grad.copy_(total.view(grad.shape))
        self._arrived.clear()
        self._sent.clear()
        self._next = 0
