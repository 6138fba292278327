"""LL-Cp: large loss correction, permanent. Unknown labels are negatives until their loss is large; then positives.

    loss = mean over all entries of BCE(z, 1 - a) in S, BCE(z, a) elsewhere
    a = 1 where positive or corrected in an earlier step, 0 elsewhere
    share of large entries = 0 in the first epoch, delta_rel / 100 in every later one;   S: :mod:`plml.large_loss`

What was corrected takes part in no later S: every epoch corrects further labels.
Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740 (LL-Cp).
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.large_loss import clean_rate, label_losses, large_count, large_loss_mask
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


class LargeLossPermanentCorrection(Method, name="ll_cp"):
    """Corrected labels are a buffer (N, L), written after the step; the label matrix stays as it was observed.

    A second training stage (LinearInit) starts from the labels that the first one corrected. A known negative is
    never corrected, but for ``compat: reference`` when fewer unknown labels than asked for cost anything: the released
    rule then takes every entry.

    Args:
        labels: what is known of the data set.
        delta_rel: percent of all entries of a batch that are corrected, > 0.
        correction: what becomes permanent: "inclusive" all of S (BoostLU's release), "strict" only what lies above
            the threshold T (the first release, arXiv:2206.03740): one entry less, so nothing at all when k = 1.
        compat: see :mod:`plml.large_loss`.
    """

    paper = (
        "Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {"delta_rel": {"type": "float", "low": 0.1, "high": 0.5}}

    clean_rate: Tensor
    corrected: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        delta_rel: Annotated[float, Field(gt=0)] = 0.1,
        correction: Literal["inclusive", "strict"] = "inclusive",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.delta_rel, self.correction = delta_rel, correction
        self.register_buffer("clean_rate", torch.ones((), dtype=torch.float64))
        self.register_buffer("corrected", torch.zeros(labels.observed.shape, dtype=torch.bool))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        as_is, opposite = label_losses(out.logits, self.positive(batch), self.compat)
        return torch.where(self.large(as_is, batch), opposite, as_is).mean()

    def large(self, losses: Tensor, batch: Batch, *, strict: bool = False) -> Tensor:
        """Return S of this batch, or with ``strict`` what lies above its threshold; (B, L) bool, as ``losses``."""
        share = torch.zeros_like(self.clean_rate) + self.delta_rel / 100.0  # float64, made on the device
        count = large_count(losses.numel(), share, self.compat) * (self.clean_rate < 1.0)
        unknown = (batch.observed == UNKNOWN) & ~self.positive(batch)
        return large_loss_mask(losses, unknown, count, self.compat, strict=strict)

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.clean_rate.copy_(clean_rate(epoch, self.delta_rel, self.compat))

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        """Make this step's corrections permanent; ``out`` is what the step was computed from."""
        losses, _ = label_losses(out.logits, self.positive(batch), self.compat)
        corrections = self.large(losses, batch, strict=self.correction == "strict")
        self.corrected[batch.index] = self.corrected[batch.index] | corrections

    def continue_from(self, earlier: Method) -> None:
        """Keep the labels that the first stage corrected."""
        assert isinstance(earlier, LargeLossPermanentCorrection)
        self.corrected.copy_(earlier.corrected)

    def diagnostics(self) -> dict[str, Tensor]:
        """Mean number of corrected labels an image so far."""
        return {"corrected_per_image": self.corrected.sum() / len(self.corrected)}

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """Positive: everything corrected so far."""
        return PseudoLabels(positive=self.corrected[batch.index])

    def positive(self, batch: Batch) -> Tensor:
        """Labels trained as positives, (B, L) bool."""
        return (batch.observed == POSITIVE) | self.corrected[batch.index]
