"""Binary cross entropy on the labels that are known.

    M[b, i] = -ln p where positive, -ln(1 - p) where negative, 0 where unknown;   loss = sum(M) / (B * L)

Which baseline it is depends on the label setting: full BCE with ``fully_observed``, IU with
``positives_negatives``, IUN with ``all_negatives`` (Cole et al., CVPR 2021, arXiv:2106.09708), partial-label BCE
with ``known_fraction``. Unknown entries stay in the denominator, as in the released code. With
``single_positive`` nothing holds the scores down: every class drifts to positive.
"""

from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE, Batch, ModelOutput
from plml.losses import negative_loss, positive_loss
from plml.methods.base import Method


class BinaryCrossEntropy(Method, name="bce"):
    """Known positives and known negatives, each with weight 1; unknown labels are ignored."""

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        positive = (batch.observed == POSITIVE) * positive_loss(out.logits, self.compat)  # (B, L)
        negative = (batch.observed == NEGATIVE) * negative_loss(out.logits, self.compat)  # (B, L)
        return (positive + negative).mean()
