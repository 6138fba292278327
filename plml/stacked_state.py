"""Tensors of K runs kept as slices of one tensor each, so that one operation works on all of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Key = TypeVar("Key")


class Slab:
    """One tensor of K slots; a run's own tensor is the slice of its slot.

    Args:
        like: a run's tensor; shape, dtype and device are taken from it.
        slots: K.
    """

    def __init__(self, like: Tensor, slots: int) -> None:
        self.whole = torch.zeros((slots, *like.shape), dtype=like.dtype, device=like.device)
        self.rows = list(self.whole.unbind())

    def take(self, slot: int, tensor: Tensor) -> Tensor:
        """Copy ``tensor`` into ``slot`` and return the slice, to be used in its place."""
        row = self.rows[slot]
        if row.data_ptr() != tensor.data_ptr() or row.numel() == 0:
            row.copy_(tensor.detach())
        return row


class StackedModule:
    """Parameters and buffers of K modules of one structure in slabs.

    A module that has joined works on its slices: what it computes, loads or saves is what the slabs hold.

    Args:
        like: a module; the others have the same names and shapes.
        slots: K.
    """

    def __init__(self, like: nn.Module, slots: int) -> None:
        self.parameters = {name: Slab(tensor, slots) for name, tensor in like.named_parameters()}
        self.buffers = {name: Slab(tensor, slots) for name, tensor in like.named_buffers()}
        self._joined: dict[int, nn.Module] = {}

    def join(self, slot: int, module: nn.Module) -> None:
        """Move the module's tensors into ``slot``."""
        self._joined[slot] = module
        self.follow()

    def leave(self, slot: int) -> None:
        """Give the module of ``slot`` tensors of its own again."""
        self._each(self._joined.pop(slot), lambda _, tensor: tensor.detach().clone())

    def follow(self) -> None:
        """Move tensors back that a module has replaced by others, in a hook for example."""
        for slot, module in self._joined.items():
            slabs = {**self.parameters, **self.buffers}
            self._each(module, lambda name, tensor, slot=slot, slabs=slabs: slabs[name].take(slot, tensor))  # type: ignore[misc]

    @staticmethod
    def _each(module: nn.Module, place: Callable[[str, Tensor], Tensor]) -> None:
        for name, parameter in module.named_parameters():
            parameter.data = place(name, parameter.data)
        for name, buffer in list(module.named_buffers()):
            path, _, last = name.rpartition(".")
            holder = module.get_submodule(path)
            replaced = place(name, buffer)
            if replaced is not holder._buffers[last]:
                holder._buffers[last] = replaced


def runs_of(slots: Sequence[tuple[int, Key]]) -> list[tuple[int, int, Key]]:
    """Join neighbours of ``(slot, key)``, by slot, that have one key: ``(first slot, last slot + 1, key)``."""
    joined: list[tuple[int, int, Key]] = []
    for slot, key in slots:
        if joined and joined[-1][2] == key:
            joined[-1] = (joined[-1][0], slot + 1, key)
        else:
            joined.append((slot, slot + 1, key))
    return joined
