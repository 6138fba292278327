"""GR: generalised robust loss. A soft pseudo-label and a weight for each unknown label, both read off its score.

    M[b, i] = -ln p where positive, -ln(1 - p) where negative,
              v (k (1 - p^q2) / q2 + (1 - k) (1 - (1 - p)^q3) / q3) where unknown
    k = sigmoid(w p + b),   v = exp(-((p - mu) / sigma)^2 / 2),   p without gradient in both;   loss = sum(M) / (B * L)

k is the belief that an unknown label is positive, v how much an entry counts. (1 - p^q) / q is the generalised cross
entropy: -ln p for q to 0, 1 - p for q = 1. In epoch e of E (counted from 1) the belief's parameters have gone the
share (e - 1) / E of their way, and the weight's the share e / E:

    (w, b): (0, -2) to (2, -2),   (mu, sigma): (0.5, 2) to (0.8, 0.5),   q2 = 0.01,   q3 = 1,   E = 8

Chen et al., Boosting Single Positive Multi-label Classification with Generalized Robust Loss, IJCAI 2024,
arXiv:2405.03501 (schedules and constants of the released code). The term for known negatives is ours; single
positive labels have none.
"""

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import negative_loss, positive_loss
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels

EPSILON = 1e-7  # inside the released code's logarithm of a positive


def generalized_cross_entropy(log_probability: Tensor, q: float | Tensor) -> Tensor:
    """Return (1 - p^q) / q, q > 0, of ln p, element by element; its gradient is finite where p underflows."""
    return -torch.expm1(q * log_probability) / q


class GeneralizedRobust(Method, name="gr"):
    """Known labels, and for unknown ones a robust loss towards a belief that grows more decided over the epochs.

    A method is not told how long it will be trained, hence ``num_epochs``: set it to ``epochs`` of the run; training
    beyond it keeps the last values. The authors stop when validation falls 2 mAP points below its best.

    Args:
        labels: what is known of the data set.
        w_start: slope of the belief in the first epoch.
        w_end: slope it moves to; AEVLP (arXiv:2508.20381) uses 10 on COCO.
        b_start: offset of the belief in the first epoch; sigmoid(-2) = 0.12.
        b_end: offset it moves to; -8 on COCO in AEVLP.
        mu_start: score that counts most, before the first epoch, in [0, 1].
        mu_end: the same after the last.
        sigma_start: width of the weight, before the first epoch, > 0.
        sigma_end: the same after the last.
        q2: exponent for the case that an unknown label is positive, in (0, 1].
        q3: exponent for the case that it is negative, in (0, 1].
        num_epochs: E >= 1.
        compat: "reference" adds 1e-7 inside the logarithm of a known label; see :mod:`plml.losses`. Everything else
            is the same function, but finite where the released code divides 0 by 0 (p = 0).
    """

    paper = "Chen et al., Boosting SPML with Generalized Robust Loss, IJCAI 2024, arXiv:2405.03501"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "w_end": {"type": "float", "low": 0.5, "high": 10.0},
        "b_end": {"type": "float", "low": -8.0, "high": -1.0},
        "mu_end": {"type": "float", "low": 0.5, "high": 1.0},
        "sigma_end": {"type": "float", "low": 0.25, "high": 2.0, "log": True},
        "q2": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
        "q3": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    }

    belief_progress: Tensor
    weight_progress: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        w_start: float = 0.0,
        w_end: float = 2.0,
        b_start: float = -2.0,
        b_end: float = -2.0,
        mu_start: Annotated[float, Field(ge=0, le=1)] = 0.5,
        mu_end: Annotated[float, Field(ge=0, le=1)] = 0.8,
        sigma_start: Annotated[float, Field(gt=0)] = 2.0,
        sigma_end: Annotated[float, Field(gt=0)] = 0.5,
        q2: Annotated[float, Field(gt=0, le=1)] = 0.01,
        q3: Annotated[float, Field(gt=0, le=1)] = 1.0,
        num_epochs: Annotated[int, Field(ge=1)] = 8,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.w_start, self.w_end, self.b_start, self.b_end = w_start, w_end, b_start, b_end
        self.mu_start, self.mu_end, self.sigma_start, self.sigma_end = mu_start, mu_end, sigma_start, sigma_end
        self.q2, self.q3, self.num_epochs = q2, q3, num_epochs
        self.register_buffer("belief_progress", torch.zeros(()))
        self.register_buffer("weight_progress", torch.full((), 1.0 / num_epochs))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        logits = out.logits
        belief, weight = self.belief_and_weight(logits.detach().sigmoid())
        if_positive = generalized_cross_entropy(F.logsigmoid(logits), self.q2)  # (B, L)
        if_negative = generalized_cross_entropy(F.logsigmoid(-logits), self.q3)
        unknown = weight * (belief * if_positive + (1.0 - belief) * if_negative)
        known = torch.where(batch.observed == POSITIVE, self._known(logits, True), self._known(logits, False))
        return torch.where(batch.observed == UNKNOWN, unknown, known).mean()

    def belief_and_weight(self, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Return k and v (B, L) of this epoch at ``probability`` (B, L)."""
        w = self.w_start + (self.w_end - self.w_start) * self.belief_progress
        b = self.b_start + (self.b_end - self.b_start) * self.belief_progress
        mu = self.mu_start + (self.mu_end - self.mu_start) * self.weight_progress
        sigma = self.sigma_start + (self.sigma_end - self.sigma_start) * self.weight_progress
        return (w * probability + b).sigmoid(), (-0.5 * ((probability - mu) / sigma) ** 2).exp()

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        """Move the schedules; the weight's is one epoch ahead of the belief's, as released."""
        self.belief_progress.fill_(min(epoch / self.num_epochs, 1.0))
        self.weight_progress.fill_(min((epoch + 1) / self.num_epochs, 1.0))

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """Positive: where the belief k is above 1/2; with the default slopes it never is."""
        belief, _ = self.belief_and_weight(out.logits.sigmoid())
        return PseudoLabels(positive=belief > 0.5)

    def _known(self, logits: Tensor, positive: bool) -> Tensor:
        """What a known label costs (B, L)."""
        if self.compat == "reference":
            probability = logits.sigmoid()
            return -((probability if positive else 1.0 - probability) + EPSILON).log()
        return positive_loss(logits, "fixed") if positive else negative_loss(logits, "fixed")
