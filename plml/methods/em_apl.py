"""EM with APL: entropy maximisation, and asymmetric pseudo-labels, negative ones only, a few more after each epoch.

    M[b, i] = -ln p where positive, -ln(1 - p) where negative,
              beta (-s ln p - (1 - s) ln(1 - p)) where pseudo-labelled with soft target s, -alpha H(p) elsewhere
    loss = sum(M) / (B * L),   H(p) = -p ln p - (1 - p) ln(1 - p)

After each epoch e >= W (counted from 1) the training split is scored. Of each class, the n_i unlabelled entries with
the lowest probabilities become pseudo-labels, with that probability as their soft target s, and are never revised:

    n_i = floor(theta m_i / (E - W)),   m_i = unknown entries of class i before training

Zhou et al., Acknowledging the Unknown for Multi-label Learning with Single Positive Labels, ECCV 2022,
arXiv:2203.16219 (EM loss and APL). The term for known negatives is ours; single positive labels have none.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from plml.errors import ConfigError
from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.losses import entropy, negative_loss, positive_loss, soft_target_loss
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


class EntropyMaximizationPseudoLabels(Method, name="em_apl"):
    """Entropy where nothing is known, and soft negative pseudo-labels in a table of the method's own.

    The authors' values (alpha, beta, warm-up): VOC 0.2, 0.02, 5; COCO 0.1, 0.9, 5; NUS 0.1, 0.2, 4; CUB 0.01, 0.4, 3;
    theta 0.9 and 10 epochs everywhere. A method is not told how long it will be trained, hence ``num_epochs``: set it
    to ``epochs`` of the run. Training beyond it goes on labelling at the same pace; when less than n_i entries are
    left, all of them are taken. A second training stage starts with an empty table and a warm-up of its own.

    In compat "reference" a training split that fits into one batch gets no pseudo-labels, as in the released code,
    which looks at them from the second batch on.

    Args:
        labels: what is known of the data set.
        alpha: weight of the entropy, >= 0.
        beta: weight of the pseudo-labels, >= 0.
        warmup_epochs: W; pseudo-labels appear at the end of this epoch, counted from 1.
        neg_proportion: theta in [0, 1], the share of unknown entries that E - W rounds label.
        num_epochs: E > W.
        compat: see :mod:`plml.losses`.

    Raises:
        ConfigError: ``num_epochs`` is not greater than ``warmup_epochs``.
    """

    paper = "Zhou et al., Acknowledging the Unknown for Multi-label Learning, ECCV 2022, arXiv:2203.16219"
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "alpha": {"type": "float", "low": 0.01, "high": 0.5, "log": True},
        "beta": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
        "warmup_epochs": {"type": "int", "low": 3, "high": 5},
    }

    unknown: Tensor
    pseudo_negative: Tensor
    soft_targets: Tensor
    one_batch: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        alpha: Annotated[float, Field(ge=0)] = 0.1,
        beta: Annotated[float, Field(ge=0)] = 0.2,
        warmup_epochs: Annotated[int, Field(ge=1)] = 5,
        neg_proportion: Annotated[float, Field(ge=0, le=1)] = 0.9,
        num_epochs: Annotated[int, Field(ge=2)] = 10,
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        if num_epochs <= warmup_epochs:
            raise ConfigError(
                f"method.num_epochs must be greater than method.warmup_epochs, got {num_epochs} and {warmup_epochs}"
            )
        self.alpha, self.beta, self.neg_proportion = alpha, beta, neg_proportion
        self.warmup_epochs, self.num_epochs = warmup_epochs, num_epochs
        unknown = labels.observed == UNKNOWN
        self.register_buffer("unknown", unknown)  # (N, L)
        self.register_buffer("pseudo_negative", torch.zeros_like(unknown))  # (N, L)
        self.register_buffer("soft_targets", torch.zeros(unknown.shape, device=unknown.device))  # (N, L), in [0, 1]
        self.register_buffer("one_batch", torch.zeros((), dtype=torch.bool, device=unknown.device))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        logits, observed = out.logits, batch.observed
        pseudo, target = self.pseudo_negative[batch.index], self.soft_targets[batch.index]  # (B, L) each
        known = torch.where(
            observed == POSITIVE, positive_loss(logits, self.compat), negative_loss(logits, self.compat)
        )
        unknown = torch.where(
            pseudo,
            self.beta * soft_target_loss(logits, target, self.compat),
            -self.alpha * entropy(logits, self.compat),
        )
        return torch.where(observed == UNKNOWN, unknown, known).mean()

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        self.one_batch.fill_(False)

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        if len(batch.index) == len(self.unknown):
            self.one_batch.fill_(True)

    def on_epoch_end(self, epoch: int, score: TrainingScores) -> None:
        """Turn the lowest scores of each class into pseudo-labels, from the end of the warm-up on."""
        if epoch + 1 < self.warmup_epochs:
            return
        logits = score()  # (N, L)
        free = self.unknown & ~self.pseudo_negative
        # In double precision, as floor sees the last digit of a whole number.
        quota = (self.neg_proportion * self.unknown.sum(0).double() / (self.num_epochs - self.warmup_epochs)).floor()
        # The place of each entry in its class, lowest score first: the inverse of the sorting permutation.
        place = logits.masked_fill(~free, torch.inf).argsort(dim=0, stable=True).argsort(dim=0)  # (N, L)
        chosen = free & (place < quota)
        if self.compat == "reference":
            chosen &= ~self.one_batch
        self.soft_targets.copy_(torch.where(chosen, logits.sigmoid().to(self.soft_targets.dtype), self.soft_targets))
        self.pseudo_negative |= chosen

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        return PseudoLabels(negative=self.pseudo_negative[batch.index])

    def diagnostics(self) -> dict[str, Tensor]:
        """Share of the unknown entries that carry a pseudo-label."""
        return {"pseudo_negatives": self.pseudo_negative.sum() / self.unknown.sum().clamp(min=1)}
