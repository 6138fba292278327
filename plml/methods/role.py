"""ROLE: regularised online label estimation. A table of labels is learned together with the classifier.

Classifier p = sigmoid(z) and table t = sigmoid(theta[index]) each treat the other as a fixed target; both must
agree with the known labels and with the expected number k of positives an image:

    half(q, target) = mean over b, i of [CE(target, q) + 1(o = 1) nl(q) + 1(o = 0) nl(1 - q)] + lambda R(q)
    loss = (half(p, stop(t)) + half(t, stop(p))) / 2,   CE(a, q) = a nl(q) + (1 - a) nl(1 - q)

Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708 (ROLE; lambda = 1). The
term for known negatives is ours; single positive labels have none.
"""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from plml.labels import NEGATIVE, POSITIVE, Batch, LabelInfo, ModelOutput
from plml.losses import EPSILON, expected_positives_penalty, negative_loss, positive_loss, soft_target_loss
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


def logit(probability: float) -> float:
    """Return ln(p / (1 - p))."""
    return math.log(probability / (1.0 - probability))


class Role(Method, name="role"):
    """A free logit per training image and class, trained by the same optimiser as the network.

    ``theta`` is a dense parameter on purpose: Adam's moments go on moving rows that are not in the batch, as in
    the released code. It takes part in no weight decay. Unknown estimates start uniform in logit within
    (0.4, 0.6), drawn as one (N, L) uniform matrix from torch's default CPU generator; known positives start at
    0.995, known negatives at 0.005.

    Args:
        labels: what is known of the data set; ``expected_positives`` is k.
        lr_mult: learning rate of the table over that of the network, > 0.
        regularizer_weight: lambda >= 0; 1 is the paper's objective.
        compat: see :mod:`plml.losses`.
    """

    paper = "Cole et al., Multi-Label Learning from Single Positive Labels, CVPR 2021, arXiv:2106.09708"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "lr_mult": {"type": "float", "low": 1.0, "high": 100.0, "log": True},
        "regularizer_weight": {"type": "float", "low": 0.01, "high": 100.0, "log": True},
    }
    needs_positives = False
    needs_expected_positives = True

    predicted_count: Tensor
    images_seen: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        lr_mult: Annotated[float, Field(gt=0)] = 10.0,
        regularizer_weight: Annotated[float, Field(ge=0)] = 1.0,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        assert labels.expected_positives is not None  # checked above, because needs_expected_positives
        self.expected_positives = labels.expected_positives
        self.lr_mult, self.regularizer_weight = lr_mult, regularizer_weight
        observed = labels.observed.cpu()
        start = logit(0.6) * (2.0 * torch.rand(observed.shape, device="cpu", dtype=torch.float32) - 1.0)  # (N, L)
        start = start.masked_fill(observed == POSITIVE, logit(0.995)).masked_fill(observed == NEGATIVE, logit(0.005))
        self.theta = nn.Parameter(start)
        self.register_buffer("predicted_count", torch.zeros(()))
        self.register_buffer("images_seen", torch.zeros(()))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        image, table = out.logits, self.theta[batch.index]  # (B, L) each
        return 0.5 * (self._half(image, table, batch.observed) + self._half(table, image, batch.observed))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        return [{"params": [self.theta], "lr": self.lr_mult * lr, "weight_decay": 0.0}]

    def continue_from(self, earlier: Method) -> None:
        """Restart the table from ``earlier``'s estimates, clipped to [1e-5, 1 - 1e-5] (LinearInit's second stage)."""
        assert isinstance(earlier, Role)
        with torch.no_grad():
            estimates = earlier.theta.sigmoid().clamp(EPSILON, 1.0 - EPSILON)  # (N, L)
            self.theta.copy_((estimates / (1.0 - estimates)).log())

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.predicted_count.zero_()
        self.images_seen.zero_()

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        self.predicted_count += out.logits.detach().sigmoid().sum()
        self.images_seen += len(batch.index)

    def diagnostics(self) -> dict[str, Tensor]:
        """Mean positives an image: of the whole table now, and of the predictions of this epoch's steps."""
        return {
            "est_labels_k_hat": self.theta.detach().sigmoid().sum(dim=1).mean(),
            "preds_k_hat": self.predicted_count / self.images_seen.clamp(min=1),
        }

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """Positive: where the table's estimate is above 1/2."""
        return PseudoLabels(positive=self.theta[batch.index] > 0)

    def _half(self, student: Tensor, teacher: Tensor, observed: Tensor) -> Tensor:
        """Loss of ``student`` (B, L) while ``teacher`` (B, L) is held fixed."""
        agree = soft_target_loss(student, teacher.sigmoid().detach(), self.compat)
        known = (observed == POSITIVE) * positive_loss(student, self.compat)
        known = known + (observed == NEGATIVE) * negative_loss(student, self.compat)
        penalty = expected_positives_penalty(student, self.expected_positives)
        return (agree + known).mean() + self.regularizer_weight * penalty
