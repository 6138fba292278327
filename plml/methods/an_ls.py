"""AN-LS: assume negative, with label smoothing against the false negatives that the assumption makes.

    M[b, i] = CE(1 - s, p) where positive, CE(s, p) elsewhere;   loss = sum(M) / (B * L)
    CE(t, p) = -t ln p - (1 - t) ln(1 - p)

Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (AN-LS).
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, Batch, LabelInfo, ModelOutput
from plml.losses import smoothed_loss
from plml.methods.base import Compat, Method


class SmoothedAssumeNegative(Method, name="an_ls"):
    """Unknown labels count as smoothed negatives; a known negative is trained the same way, with weight 1.

    Args:
        labels: what is known of the data set.
        ls_coef: s in [0, 0.5]; used as it is, divided neither by 2 nor by the number of classes.
        compat: see :mod:`plml.losses`.
    """

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {"ls_coef": {"type": "float", "low": 0.0, "high": 0.3}}

    def __init__(
        self, labels: LabelInfo, *, ls_coef: Annotated[float, Field(ge=0, le=0.5)] = 0.1, compat: Compat = "fixed"
    ) -> None:
        super().__init__(labels, compat=compat)
        self.ls_coef = ls_coef

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        return smoothed_loss(out.logits, batch.observed == POSITIVE, self.ls_coef, self.compat).mean()
