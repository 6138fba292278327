"""EPR: expected positive regularisation. Unknown labels are left alone, but their number is known.

    M[b, i] = -ln p where positive, -ln(1 - p) where negative, 0 where unknown
    loss = sum(M) / (B * L) + lambda R,   R = ((mean over b of sum over i of p[b, i] - k) / L)^2

Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (EPR; lambda = 1).
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE, Batch, LabelInfo, ModelOutput
from plml.losses import expected_positives_penalty, negative_loss, positive_loss
from plml.methods.base import Compat, Method


class ExpectedPositiveRegularization(Method, name="epr"):
    """Known labels and the expected number k of positives an image; a known negative has weight 1.

    Known negatives and k alone are enough to learn from, so candidate sets are accepted.

    Args:
        labels: what is known of the data set; ``expected_positives`` is k.
        regularizer_weight: lambda >= 0; 1 is the paper's objective.
        compat: see :mod:`plml.losses`.
    """

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "regularizer_weight": {"type": "float", "low": 0.01, "high": 100.0, "log": True}
    }
    needs_positives = False
    needs_expected_positives = True

    def __init__(
        self, labels: LabelInfo, *, regularizer_weight: Annotated[float, Field(ge=0)] = 1.0, compat: Compat = "fixed"
    ) -> None:
        super().__init__(labels, compat=compat)
        assert labels.expected_positives is not None  # checked above, because needs_expected_positives
        self.expected_positives = labels.expected_positives
        self.regularizer_weight = regularizer_weight

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        positive = (batch.observed == POSITIVE) * positive_loss(out.logits, self.compat)  # (B, L)
        negative = (batch.observed == NEGATIVE) * negative_loss(out.logits, self.compat)  # (B, L)
        penalty = expected_positives_penalty(out.logits, self.expected_positives)
        return (positive + negative).mean() + self.regularizer_weight * penalty
