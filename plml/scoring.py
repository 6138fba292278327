"""Logits of a whole split: one way for training, which chooses by them, and for evaluation, which repeats them."""

from collections.abc import Callable

import torch
from torch import Tensor

from plml.models import Classifier

BATCH = 256


@torch.no_grad()
def score(network: Classifier, count: int, fetch: Callable[[Tensor], Tensor], *, fast: bool) -> Tensor:
    """Return logits (N, L) float32, on the network's device; leaves the network in evaluation mode.

    Args:
        network: what is scored.
        count: N.
        fetch: gives the inputs at positions (B,), on the network's device.
        fast: bfloat16 autocast, as in training with ``precision: fast``.
    """
    device = next(network.parameters()).device
    network.eval()
    rows = []
    for index in torch.arange(count).split(BATCH):
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            rows.append(network(fetch(index)).logits.float())
    return torch.cat(rows)
