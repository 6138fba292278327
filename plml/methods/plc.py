"""PLC: pseudo-label consistency. What the network is sure of on an image, it must say of a strongly changed view.

    t = 1 where positive, 0 where negative, else 1(p >= tau);   c = 1 where known, or p >= tau, or p < 1 - tau
    loss = AN(z) + lambda sum(c CE(t, z')) / sum(c)

AN is the mean over B * L of -ln p where positive and -ln(1 - p) elsewhere; z are the logits of the image as trained
on, p = sigmoid(z) without gradient, z' those of its strong view.

Xie et al., Label-Aware Global Consistency for Multi-Label Learning with Single Positive Labels, NeurIPS 2022,
https://github.com/xiemk/SPML-LAC (first stage: AN and PLC; the second stage's label-wise contrastive queue, LAC, is
not here). Ours: the strong view is a SimCLR view instead of RandAugment with Cutout, the head reads its pooled
features by the class weights, and the terms for known negatives.
"""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import negative_loss, positive_loss, soft_target_loss
from plml.methods.base import Compat, Method
from plml.pseudo_labels import PseudoLabels


class PseudoLabelConsistency(Method, name="plc"):
    """AN on the image, and hard pseudo-labels of both kinds on one further view of it.

    Args:
        labels: what is known of the data set.
        consistency_weight: lambda >= 0.
        threshold: tau in [0.5, 1]; the authors warm up with 0.6 and go on with 0.9.
        compat: both modes are the stable logit form, which the released code has too.
    """

    paper = "Xie et al., Label-Aware Global Consistency, NeurIPS 2022, https://github.com/xiemk/SPML-LAC"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "consistency_weight": {"type": "float", "low": 0.1, "high": 10.0, "log": True},
        "threshold": {"type": "float", "low": 0.5, "high": 0.95},
    }
    needs_images = True
    needs_class_weights = True
    stackable = False
    views = 1

    def __init__(
        self,
        labels: LabelInfo,
        *,
        consistency_weight: Annotated[float, Field(ge=0)] = 1.0,
        threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.6,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.consistency_weight, self.threshold = consistency_weight, threshold

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        assert out.views is not None  # the trainer makes them, because of ``views``
        assert out.class_weights is not None  # checked before, because needs_class_weights
        positive = batch.observed == POSITIVE
        plain = torch.where(positive, positive_loss(out.logits, "fixed"), negative_loss(out.logits, "fixed")).mean()
        score = out.logits.detach().sigmoid()
        score = score.masked_fill(positive, 1.0).masked_fill(batch.observed == NEGATIVE, 0.0)  # (B, L)
        target = score >= self.threshold
        sure = (batch.observed != UNKNOWN) | target | (score < 1.0 - self.threshold)
        of_view = F.linear(out.views[0], out.class_weights, out.class_bias)  # (B, L)
        costs = soft_target_loss(of_view, target.to(of_view.dtype), "fixed")
        return plain + self.consistency_weight * (sure * costs).sum() / sure.sum().clamp(min=1)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """What the strong view must say of unknown labels; the image itself takes them for negative."""
        score = out.logits.sigmoid()
        return PseudoLabels(positive=score >= self.threshold, negative=score < 1.0 - self.threshold)
