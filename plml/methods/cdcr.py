"""CDCR: a curriculum keeps the candidates that the network believes in and leaves the others out.

    loss = sum over b, i of w bce(z, y),   w = 1 for non-candidates,  w = 1(p >= threshold) for candidates

p are the network's predictions before the epoch, in evaluation mode; in the first ``warmup_epochs`` epochs w = 1. The
threshold is alpha for all classes, or alpha + m_j - m with ``class_adaptive``: m_j is the mean prediction of class j
where it is a candidate and m the mean over all candidate entries, so difficult classes are asked for less.

Sun, Xie and Huang, A Deep Model for Partial Multi-Label Image Classification with Curriculum Based Disambiguation,
arXiv:2207.02410. Their recipe: 16 epochs of warm-up, then 41 (21 with ``class_adaptive``) from its averaged weights
with a new optimiser, on strongly augmented images (``data.randaugment``, ``data.cutout: 0.5``), Adam with OneCycle.
Here one optimiser goes on, and the network itself, not its average, gives p. There is no consistency term of its own:
in the released code the plainly flipped images that p is read from and the augmented ones that are trained on are all
there is of it.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from plml.candidates import candidate_losses, candidate_mask
from plml.labels import POSITIVE, Batch, LabelInfo, ModelOutput
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


def class_thresholds(probabilities: Tensor, candidates: Tensor, alpha: float | Tensor) -> Tensor:
    """Return alpha + m_j - m, (L,): lower for classes in which the network is less sure of the candidates.

    Args:
        probabilities: (N, L) in [0, 1].
        candidates: (N, L) bool.
        alpha: threshold of an average class.
    """
    believed = probabilities * candidates
    by_class = believed.sum(dim=0) / candidates.sum(dim=0).clamp(min=1)
    overall = believed.sum() / candidates.sum().clamp(min=1)
    return alpha + by_class - overall


def kept_labels(probabilities: Tensor, candidates: Tensor, threshold: float | Tensor) -> Tensor:
    """Return where w = 1, bool (N, L): non-candidates, and candidates with p >= threshold (a number, or (L,))."""
    return ~candidates | (probabilities >= threshold)


class Cdcr(Method, name="cdcr"):
    """Candidate BCE on the candidates that the previous epoch's network predicts, after a warm-up on all.

    Known positives are always kept. The released code sums the loss over the batch, which is what ``reduction: sum``
    does: its gradients, and with SGD the matching learning rates, are B L times those of ``mean``; Adam hardly
    notices. The same in both ``compat`` modes.

    Args:
        labels: what is known of the data set.
        alpha: confidence in [0, 1] that keeps a candidate.
        warmup_epochs: epochs on all candidates first; the authors train 16, a later re-implementation 5.
        class_adaptive: thresholds follow the difficulty of each class.
        reduction: ``sum`` over or ``mean`` of the B L entries.
        compat: see :mod:`plml.losses`.
    """

    paper = (
        "Sun et al., A Deep Model for Partial Multi-Label Image Classification with Curriculum Based Disambiguation, "
        "arXiv:2207.02410"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "alpha": {"type": "float", "low": 0.3, "high": 0.9},
        "warmup_epochs": {"type": "int", "low": 1, "high": 16},
        "class_adaptive": {"type": "categorical", "choices": [False, True]},
    }
    needs_positives = False
    needs_negatives = True

    kept: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.6,
        warmup_epochs: Annotated[int, Field(ge=0)] = 5,
        class_adaptive: bool = False,
        reduction: Literal["sum", "mean"] = "sum",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.alpha, self.warmup_epochs, self.class_adaptive = alpha, warmup_epochs, class_adaptive
        self.reduction = reduction
        observed = labels.observed.cpu()
        self.register_buffer("candidates", candidate_mask(observed), persistent=False)  # (N, L)
        self.register_buffer("positives", observed == POSITIVE, persistent=False)  # (N, L)
        self.register_buffer("kept", torch.ones(observed.shape, dtype=torch.bool))  # (N, L)

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        losses = candidate_losses(out.logits, candidate_mask(batch.observed)) * self.kept[batch.index]
        return losses.sum() if self.reduction == "sum" else losses.mean()

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        """Choose the candidates of this epoch."""
        if epoch < self.warmup_epochs:
            return
        candidates: Tensor = self.candidates  # type: ignore[assignment]
        positives: Tensor = self.positives  # type: ignore[assignment]
        probabilities = score().sigmoid()  # (N, L)
        threshold = class_thresholds(probabilities, candidates, self.alpha) if self.class_adaptive else self.alpha
        self.kept.copy_(kept_labels(probabilities, candidates, threshold) | positives)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        """Positive: candidates that are kept; negative: those left out."""
        kept = self.kept[batch.index]
        return PseudoLabels(positive=kept, negative=~kept)

    def diagnostics(self) -> dict[str, Tensor]:
        """``kept_candidates``: share of the candidates that this epoch was trained on."""
        candidates: Tensor = self.candidates  # type: ignore[assignment]
        return {"kept_candidates": (self.kept & candidates).sum() / candidates.sum().clamp(min=1)}
