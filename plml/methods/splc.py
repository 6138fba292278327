"""SPLC: self-paced loss correction. Unknown labels are negatives until the network is sure enough of them.

    z' = z - margin where positive, z elsewhere;   q = sigmoid(z')
    t = 1 where positive, and, from epoch change_epoch on, where unknown and q > tau; 0 elsewhere
    loss = - sum over b, i of t (1 - q)^gamma ln q + (1 - t) q^gamma ln(1 - q)

Corrected labels have no margin. A correction holds for the step at hand: the next one is judged anew.
Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing Labels, arXiv:2112.07368.
"""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from plml.focal import Reduction, power, reduce
from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


class SelfPacedLossCorrection(Method, name="splc"):
    """A known negative is certain: it is never corrected. The authors' data knows positives only.

    Args:
        labels: what is known of the data set.
        tau: probability in (0, 1) above which an unknown label is taken for positive; 0.65 where 3 of 4 positives
            are known (COCO), else 0.6.
        change_epoch: first epoch with corrections, 0-based and of the stage at hand.
        margin: what a positive's logit must exceed, >= 0.
        gamma: focal exponent, >= 0; its factor has a gradient.
        reduction: the authors' sum over all B * L entries, or the mean; see :func:`plml.focal.reduce`.
        compat: makes no difference here.
    """

    paper = "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing Labels, arXiv:2112.07368"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "tau": {"type": "float", "low": 0.5, "high": 0.9},
        "margin": {"type": "float", "low": 0.0, "high": 2.0},
        "gamma": {"type": "float", "low": 0.0, "high": 4.0},
    }

    epoch: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        tau: Annotated[float, Field(gt=0, lt=1)] = 0.6,
        change_epoch: Annotated[int, Field(ge=0)] = 1,
        margin: Annotated[float, Field(ge=0)] = 1.0,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        reduction: Reduction = "sum",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.tau, self.change_epoch, self.margin, self.gamma = tau, change_epoch, margin, gamma
        self.reduction = reduction
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        positive = batch.observed == POSITIVE  # (B, L)
        z = torch.where(positive, out.logits - self.margin, out.logits)
        # The logit of the target being true, and the focal base, which is the probability of the opposite.
        toward = torch.where(positive | self.corrections(out, batch), z, -z)
        return reduce(-power((-toward).sigmoid(), self.gamma) * F.logsigmoid(toward), self.reduction)

    def corrections(self, out: ModelOutput, batch: Batch) -> Tensor:
        """Return which unknown labels this batch takes for positive, (B, L) bool."""
        sure = out.logits.detach().sigmoid() > self.tau
        return sure & (batch.observed == UNKNOWN) & (self.epoch >= self.change_epoch)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        return PseudoLabels(positive=self.corrections(out, batch))

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.epoch.fill_(epoch)
