"""Batches of K runs, read for many steps at once: a step's own reads cost more in calls than in bytes."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)

CHUNK_BYTES = 4 * 2**20  # read at once, unless a single step takes more; stays in the last cache of a processor


@dataclass(slots=True)
class StackedBatch:
    """What K runs see in one step.

    Attributes:
        inputs: (B, D) for each group of neighbouring slots that see the same examples.
        observed: labels (K, B, L).
        index: places of the examples in the training split (K, B).
    """

    inputs: Sequence[Tensor]
    observed: Tensor
    index: Tensor


def stacked_batches(
    features: Tensor,
    observed: Tensor,
    orders: Mapping[Key, Tensor],
    sharing: Sequence[tuple[int, int, Key]],
    batch_size: int,
    steps: int,
) -> Iterator[StackedBatch]:
    """Yield the batches of one epoch.

    Args:
        features: (N, D).
        observed: (N, L).
        orders: by key, the order (N,) in which examples come, on the device.
        sharing: ``(first slot, last slot + 1, key)`` of neighbours that have one order.
        batch_size: B; the last batch may be smaller.
        steps: of the epoch.
    """
    count = len(next(iter(orders.values())))
    slots = sharing[-1][1]
    row = len(orders) * features[0].nbytes + slots * (observed[0].nbytes + 8)
    whole = min(steps, count // batch_size)  # full batches
    at_once = max(1, CHUNK_BYTES // (row * batch_size))
    bounds = [(first, min(first + at_once, whole), batch_size) for first in range(0, whole, at_once)]
    if whole < steps:
        bounds.append((whole, steps, count - whole * batch_size))
    for first, last, size in bounds:
        places = slice(first * batch_size, first * batch_size + (last - first) * size)
        read = {key: features.index_select(0, order[places]).split(size) for key, order in orders.items()}
        index = torch.stack([orders[key][places] for low, high, key in sharing for _ in range(low, high)])
        index = index.view(slots, last - first, size).transpose(0, 1).contiguous()  # (steps, K, B)
        seen = observed[index]
        groups = [read[key] for _, _, key in sharing]
        for number, (labels, places_of_runs) in enumerate(zip(seen.unbind(), index.unbind(), strict=True)):
            yield StackedBatch([group[number] for group in groups], labels, places_of_runs)
