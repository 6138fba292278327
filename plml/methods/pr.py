"""PR: pairwise ranking. An observed positive should score above every label that is not one.

    M[b, i] = sum over j with o[b, j] not positive of max(0, 1 - p[b, i] + p[b, j]) where i is positive, else 0
    loss = sum(M) / (B * L)

Probabilities lie in [0, 1], so the hinge never clips and the sum over j has the closed form
r (1 - p[b, i]) + sum over j of p[b, j], with r the number of labels ranked below: O(B L) instead of O(B L^2).

Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (pairwise ranking).
"""

from torch import Tensor

from plml.labels import POSITIVE, Batch, ModelOutput
from plml.methods.base import Method


class PairwiseRanking(Method, name="pr"):
    """Every pair of an observed positive and another label counts 1; known negatives and unknown labels alike.

    The margin acts on probabilities, without any logarithm, so both ``compat`` modes are the same. An image
    without observed positives contributes nothing.
    """

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        p = out.logits.sigmoid()  # (B, L)
        positive = batch.observed == POSITIVE
        below = ~positive
        count = below.sum(dim=1, keepdim=True)  # (B, 1)
        mass = (below * p).sum(dim=1, keepdim=True)  # (B, 1)
        return (positive * (count * (1.0 - p) + mass)).mean()
