"""Ramped WAN: unknown labels are weak negatives whose weight grows from 0 over the first epochs.

    M[b, i] = -ln p where positive, -ln(1 - p) where negative, -w min(e / E, 1) ln(1 - p) where unknown
    loss = sum(M) / (B * L),   e = 0, 1, ... the epoch

An example, not a published method; WAN is Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021,
arXiv:2106.09708.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import negative_loss, positive_loss
from plml.methods.base import Compat, Method, TrainingScores


class RampedWeakNegative(Method, name="ramped_wan"):
    """Nothing is assumed of unknown labels at first; then they become negatives little by little.

    Args:
        labels: what is known of the data set.
        negative_weight: w in [0, 1], the weight of an unknown label at the end.
        ramp_epochs: E >= 1, epochs until it is reached.
        compat: see :mod:`plml.losses`.
    """

    paper = "an example; after Cole et al., CVPR 2021, arXiv:2106.09708 (WAN)"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "negative_weight": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
        "ramp_epochs": {"type": "int", "low": 1, "high": 8},
    }

    share: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        negative_weight: Annotated[float, Field(ge=0, le=1)] = 0.1,
        ramp_epochs: Annotated[int, Field(ge=1)] = 4,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.negative_weight, self.ramp_epochs = negative_weight, ramp_epochs
        self.register_buffer("share", torch.zeros(()))  # state is a buffer, so that checkpoints hold it

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        negative = negative_loss(out.logits, self.compat)  # (B, L)
        weak = self.negative_weight * self.share * negative
        other = torch.where(batch.observed == UNKNOWN, weak, negative)
        return torch.where(batch.observed == POSITIVE, positive_loss(out.logits, self.compat), other).mean()

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.share.fill_(min(epoch / self.ramp_epochs, 1.0))
