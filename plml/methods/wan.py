"""WAN: weakly assume negative. Unknown labels count as negatives with a small weight.

    M[b, i] = -ln p where positive, -w ln(1 - p) where unknown, -ln(1 - p) where negative
    loss = sum(M) / (B * L),   w = 1 / (L - 1)

With w = 1 / (L - 1) one observed positive weighs as much as all unknown labels of its image together.
Mac Aodha et al., Presence-Only Geographical Priors, ICCV 2019, arXiv:1906.05272, as used by Cole et al.,
Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (WAN).
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import negative_loss, positive_loss
from plml.methods.base import Compat, Method


class WeakAssumeNegative(Method, name="wan"):
    """Unknown labels count as weak negatives; a known negative has full weight 1.

    Args:
        labels: what is known of the data set.
        negative_weight: w in [0, 1], the weight of an unknown label; None is the paper's 1 / (L - 1).
        compat: see :mod:`plml.losses`.
    """

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "negative_weight": {"type": "float", "low": 0.001, "high": 1.0, "log": True}
    }

    def __init__(
        self,
        labels: LabelInfo,
        *,
        negative_weight: Annotated[float, Field(ge=0, le=1)] | None = None,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        others = max(labels.observed.shape[1] - 1, 1)  # a single class has no other to share the weight with
        self.negative_weight = 1.0 / others if negative_weight is None else negative_weight

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        negative = negative_loss(out.logits, self.compat)  # (B, L)
        return torch.where(
            batch.observed == POSITIVE,
            positive_loss(out.logits, self.compat),
            torch.where(batch.observed == UNKNOWN, self.negative_weight * negative, negative),
        ).mean()
