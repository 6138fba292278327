"""LL-R: large loss rejection. Unknown labels are negatives, and those with the largest loss do not count.

    loss = sum over entries outside S of BCE(z, a) / (B * L),   a = 1 where positive, 0 elsewhere
    share of large entries = (e - 1) * delta_rel / 100 in epoch e = 1, 2, ...;   S: :mod:`plml.large_loss`

Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740 (LL-R).
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.large_loss import clean_rate, label_losses, large_count, large_loss_mask
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


class LargeLossRejection(Method, name="ll_r"):
    """Rejected entries stay in the denominator, and a known negative is never rejected.

    Args:
        labels: what is known of the data set.
        delta_rel: percent of all entries that are rejected more with every epoch, > 0.
        compat: see :mod:`plml.large_loss`.
    """

    paper = (
        "Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {"delta_rel": {"type": "float", "low": 0.1, "high": 0.5}}

    clean_rate: Tensor

    def __init__(
        self, labels: LabelInfo, *, delta_rel: Annotated[float, Field(gt=0)] = 0.2, compat: Compat = "fixed"
    ) -> None:
        super().__init__(labels, compat=compat)
        self.delta_rel = delta_rel
        self.register_buffer("clean_rate", torch.ones((), dtype=torch.float64))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        losses, _ = label_losses(out.logits, batch.observed == POSITIVE, self.compat)
        return torch.where(self.large(losses, batch), 0.0, losses).mean()

    def large(self, losses: Tensor, batch: Batch) -> Tensor:
        """Return S of this batch, (B, L) bool, of the losses (B, L) that the labels as they are give."""
        count = large_count(losses.numel(), 1.0 - self.clean_rate, self.compat)
        return large_loss_mask(losses, batch.observed == UNKNOWN, count, self.compat)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """Positive: what is rejected, or in LL-Ct corrected, at this epoch's share."""
        losses, _ = label_losses(out.logits, batch.observed == POSITIVE, self.compat)
        return PseudoLabels(positive=self.large(losses, batch))

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.clean_rate.copy_(clean_rate(epoch, self.delta_rel, self.compat))
