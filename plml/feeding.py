"""What a network is fed: the order of an epoch's examples, and their inputs on the device."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from plml.data.bundle import Bundle, Split
from plml.data.resident import resident
from plml.data.share import Share
from plml.distributed.group import Group
from plml.stage import Stage, derive_seed


class Fed(NamedTuple):
    """What a step is fed: a batch, of which this process has a share of the inputs and everything else whole."""

    inputs: Tensor  # (b, C, H, W) uint8 or (b, D), on the device
    index: Tensor  # type: ignore[assignment]  # (B,) positions in the split, on the device
    flips: Tensor | None  # (b,) bool, which images to mirror; None for features
    crops: Tensor | None  # (b, C, H, W) uint8, boxes cut from the photos, which are trained on


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


def batches(
    stage: Stage,
    order: Tensor,
    flips: Tensor,
    steps: int,
    device: torch.device,
    group: Group,
    *,
    crop_scale: float | None,
    views: bool,
) -> Iterator[Fed]:
    """Yield what the training steps of an epoch are fed.

    Args:
        stage: its training split and batch size are used.
        order: (N,) positions in the split, on the host.
        flips: (N,) bool, whether to mirror the image at a place of the order.
        steps: number of batches.
        device: where the inputs go.
        group: processes that share each batch.
        crop_scale: as in the configuration.
        views: whether views of the whole images are wanted beside.
    """
    split, size = stage.bundle.train, stage.batch_size
    device_order, flips = order.to(device), flips.to(device)  # once an epoch, not once a step
    for begin in range(0, steps * size, size):
        places = order[begin : begin + size]
        share = group.share(len(places))
        mine = slice(begin + share.start, begin + share.stop)
        crops = random_crops(split, places, crop_scale, device, share)
        if crops is not None and not views:
            inputs = crops
        else:
            inputs = fetch_inputs(split, order[mine], device_order[mine], device)
        yield Fed(inputs, device_order[begin : begin + size], flips[mine] if split.is_images else None, crops)


def random_crops(
    split: Split, index: Tensor, scale: float | None, device: torch.device, share: Share | None = None
) -> Tensor | None:
    """Return random boxes cut from the photos of ``index`` (B,), on the device.

    Args:
        split: where the photos come from.
        index: (B,) positions in it, on the host.
        scale: least share of a photo's area, up to 1; None cuts nothing.
        device: where the boxes go.
        share: of ``index``, which of them are wanted; None for all.

    Returns:
        None where the split has no photos, or nothing is cut.
    """
    if split.sources is None or scale is None:
        return None
    return split.gather_crops(index, scale, device, share)


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
