"""AN: assume negative. Every label that is not observed positive is trained as a negative.

    M[b, i] = -ln p where positive, -ln(1 - p) elsewhere;   loss = sum(M) / (B * L)

Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (AN).
"""

import torch
from torch import Tensor

from plml.labels import POSITIVE, Batch, ModelOutput
from plml.losses import negative_loss, positive_loss
from plml.methods.base import Method


class AssumeNegative(Method, name="an"):
    """Unknown labels count as negatives; a known negative is one too, with the same weight 1."""

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        return torch.where(
            batch.observed == POSITIVE,
            positive_loss(out.logits, self.compat),
            negative_loss(out.logits, self.compat),
        ).mean()
