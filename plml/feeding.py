"""What a network is fed: the order of an epoch's examples, and their inputs on the device."""

from collections.abc import Callable

import torch
from torch import Tensor

from plml.data.bundle import Bundle, Split
from plml.data.resident import resident
from plml.stage import derive_seed


def training_order(bundle: Bundle, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the order (N,) of an epoch's training examples, and by place in it whether to mirror (N,) bool."""
    split = bundle.train
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order = torch.randperm(len(split), generator=generator)
    flips = torch.rand(len(split), generator=generator) < 0.5
    if not (bundle.flip and split.is_images):
        flips[:] = False
    return order, flips


def fetch_inputs(split: Split, index: Tensor, device_index: Tensor, device: torch.device) -> Tensor:
    """Return the inputs of examples on ``device``; small splits live there.

    Args:
        split: where they come from.
        index: (B,) positions in it, on the host.
        device_index: the same on the device.
        device: where the inputs go.
    """
    whole = resident(split, device)
    if whole is None:
        inputs = split.gather(index)
        if device.type == "cuda":
            inputs = inputs.pin_memory()  # only from there does a copy run beside the network
        return inputs.to(device, non_blocking=True)
    return whole[device_index]


def random_crops(split: Split, index: Tensor, scale: float | None, device: torch.device) -> Tensor | None:
    """Return random boxes cut from the photos of ``index`` (B,), on the device.

    Args:
        split: where the photos come from.
        index: (B,) positions in it, on the host.
        scale: least share of a photo's area, up to 1; None cuts nothing.
        device: where the boxes go.

    Returns:
        None where the split has no photos, or nothing is cut.
    """
    if split.sources is None or scale is None:
        return None
    return split.gather_crops(index, scale, device)


def mirrored_inputs(bundle: Bundle, seed: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what fetches training examples (B,) flipped at random as in training, each always in the same way."""
    split = bundle.train
    generator = torch.Generator().manual_seed(seed)
    flips = (torch.rand(len(split), generator=generator) < 0.5).to(device)
    flipping = bundle.flip and split.is_images

    def fetch(index: Tensor) -> Tensor:
        inputs = fetch_inputs(split, index, index.to(device), device)
        return torch.where(flips[index, None, None, None], inputs.flip(-1), inputs) if flipping else inputs

    return fetch
