"""Label cardinality: what follows from the maximum and the mean number of positives an image.

With at most K positives an image, all but the K most probable labels are taken for negatives; K counts the observed
positives. About the rest nothing is assumed, except that the mean number of positives is k:

    M[b, i] = -ln p where positive, -ln(1 - p) where negative, or unknown and not among the first K - n_b unknown
              labels of the image by score (n_b observed positives), 0 elsewhere
    loss = sum(M) / (B * L) + mean_weight R,   R = ((mean over b of sum over i of p[b, i] - k) / L)^2

Gharib, Murena and Klami, Single-positive Multi-label Learning with Label Cardinality, TMLR 2025. Theirs is that crude
estimates of the maximum and the mean cardinality are all that is used, without knowledge about single images. The
exact form is ours: negatives by rank for the maximum, and for the mean the expected-positives regulariser of Cole et
al. (CVPR 2021, arXiv:2106.09708). Known negatives, as everywhere, have weight 1. The paper's other parts, which know
the distribution of cardinalities or that of each image, are not here.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import expected_positives_penalty, negative_loss, positive_loss
from plml.methods.base import Compat, Method
from plml.pseudo_labels import PseudoLabels


class LabelCardinality(Method, name="label_cardinality"):
    """At most ``max_cardinality`` positives an image, k on average.

    Args:
        labels: what is known of the data set; ``expected_positives`` is k.
        max_cardinality: K >= 1, the largest number of positives of any image; None is the crude estimate
            ceil(k + 3 sqrt(k)), ours, three deviations of a Poisson count: 6 at VOC's k = 1.5, 9 at COCO's 2.9. From
            K = L on no label is taken for a negative, so where classes are few this needs a number.
        mean_weight: weight of the mean's term, >= 0; 0 uses the maximum alone.
        compat: see :mod:`plml.losses`.
    """

    paper = (
        "Gharib et al., Single-positive Multi-label Learning with Label Cardinality, TMLR 2025, "
        "https://openreview.net/forum?id=XEPPXH2nKu"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "mean_weight": {"type": "float", "low": 0.01, "high": 100.0, "log": True}
    }
    needs_expected_positives = True

    def __init__(
        self,
        labels: LabelInfo,
        *,
        max_cardinality: Annotated[int, Field(ge=1)] | None = None,
        mean_weight: Annotated[float, Field(ge=0)] = 1.0,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        assert labels.expected_positives is not None  # checked above, because needs_expected_positives
        k = labels.expected_positives
        self.expected_positives, self.mean_weight = k, mean_weight
        self.max_cardinality = math.ceil(k + 3 * math.sqrt(k)) if max_cardinality is None else max_cardinality

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        logits, observed = out.logits, batch.observed
        negative = (observed == NEGATIVE) | self._beyond_maximum(logits.detach(), observed)
        matrix = (observed == POSITIVE) * positive_loss(logits, self.compat)  # (B, L)
        matrix = matrix + negative * negative_loss(logits, self.compat)
        return matrix.mean() + self.mean_weight * expected_positives_penalty(logits, self.expected_positives)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        return PseudoLabels(negative=self._beyond_maximum(out.logits, batch.observed))

    def _beyond_maximum(self, logits: Tensor, observed: Tensor) -> Tensor:
        """Return where an unknown label would be one positive too many (B, L); equal scores go by class order."""
        unknown = observed == UNKNOWN
        left = self.max_cardinality - (observed == POSITIVE).sum(dim=1, keepdim=True)  # (B, 1)
        by_score = logits.masked_fill(~unknown, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return unknown & (by_score.argsort(dim=1) >= left)  # the second sort turns an order into places
