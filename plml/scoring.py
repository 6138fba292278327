"""Logits of a whole split: one way for training, which chooses by them, and for evaluation, which repeats them."""

from collections.abc import Callable

import torch
from torch import Tensor

from plml.compiling import begin_pass
from plml.config import Precision
from plml.distributed.group import ALONE, Group
from plml.heartbeat import beat
from plml.models import Classifier
from plml.numerics import autocast, set_rounding

FEATURE_ROWS = 4096
# Images a pass at most, and input values of them all. A CPU is quickest while a layer's maps stay in its cache:
# MobileNetV2 at 128 pixels took 6.4 ms an image in passes of 16 and 12.5 ms in passes of 64.
CPU_IMAGES, CPU_VALUES = 64, 2**20
GPU_IMAGES, GPU_VALUES = 256, 2**26


def pass_size(shape: torch.Size, device: torch.device) -> int:
    """Return how many inputs of ``shape``, (C, H, W) or (D,), are scored in one pass: a power of two.

    It does not depend on free memory: passes of another size round differently, and runs must repeat.
    """
    if len(shape) == 1:
        return FEATURE_ROWS
    most, values = (CPU_IMAGES, CPU_VALUES) if device.type == "cpu" else (GPU_IMAGES, GPU_VALUES)
    fitting = max(1, min(most, values // shape.numel()))
    return 1 << (fitting.bit_length() - 1)


# Not inference mode: methods keep what they are given here and compute gradients with it.
@torch.no_grad()
def score(
    network: Classifier,
    count: int,
    fetch: Callable[[Tensor], Tensor],
    *,
    precision: Precision,
    group: Group = ALONE,
) -> Tensor:
    """Return logits (N, L) float32, on the network's device; leaves the network in evaluation mode.

    Args:
        network: what is scored.
        count: N.
        fetch: gives the inputs at positions (B,), on the network's device.
        precision: as in training.
        group: processes that share the passes; each pass is that of one process, so its rounding is the same.
    """
    device = next(network.parameters()).device
    set_rounding(device, precision)
    network.eval()
    size = pass_size(fetch(torch.arange(1)).shape[1:], device)
    passes = torch.arange(count).split(size)
    share = group.share(len(passes))
    rows = [torch.empty(0, network.head.num_classes, device=device)]
    for index in passes[share.start : share.stop]:
        beat()
        inputs = fetch(index)
        begin_pass(device)
        with autocast(device, precision):
            rows.append(network(inputs).logits.float())
    return group.gather_rows(torch.cat(rows), share.start * size, count)
