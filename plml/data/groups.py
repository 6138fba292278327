"""A different change for each image of a batch, each change applied once to all images that get it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Change = Callable[[Tensor, Tensor], Tensor]  # images (b, C, H, W) and their rows (b,) in the batch -> new images


def change_in_groups(images: Tensor, groups: Tensor, changes: Sequence[Change | None]) -> None:
    """Change images (B, C, H, W) in place: those of group g by ``changes[g]``.

    Args:
        images: on any device.
        groups: (B,) int64 on the CPU, so that the sizes of the groups are known without waiting for the device.
        changes: one a group; None leaves its images as they are.
    """
    order = groups.argsort(stable=True).to(images.device, non_blocking=True)
    counts = torch.bincount(groups, minlength=len(changes)).tolist()
    for rows, change in zip(order.split(counts), changes, strict=True):
        if change is not None and len(rows):
            images.index_copy_(0, rows, change(images.index_select(0, rows), rows))


def for_all(function: Callable[[Tensor], Tensor]) -> Change:
    """Return the change that does ``function`` to every image alike."""
    return lambda images, _: function(images)
