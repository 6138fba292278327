"""CoNeS: correlation-induced negative suppression for partial multi-label images.

Candidates are fitted as positives, and a second term of weight beta pulls against it:

    L = mean of bce(z, y) + beta * mean of W bce(z, t)

t are pseudo-labels, the candidates whose confidence rose above the equal share 1 / n (:mod:`plml.cones.confidence`);
W is 1 for candidates and w for the others, which favours easy negatives (:mod:`plml.cones.suppression`). Confidence
follows the predictions p through a label correlation C: q is p C on the candidates, scaled to sum 1. C starts from
co-occurrence among candidates and is drawn, once an epoch, towards the similarity of clusters of class prototypes
(:mod:`plml.cones.correlation`), which class activation maps screen from every batch (:mod:`plml.cones.screening`).

Order of one step: prototypes into the memories, confidence of the batch from the current logits, then the loss from
the confidence just updated.

Zhong et al., Correlation-Induced Negative Suppression Disambiguation Loss for Partial Multi-label Image
Classification, IEEE TCSVT 2025 (there is no preprint). The full recipe is SGD with momentum 0.9, weight decay 1e-4,
warm-up from zero over 2 of 30 epochs, and steps of 0.1 every 4 (VOC) or 5 epochs; the released code trains
head and backbone at one rate (``optim.head_lr_mult: 1``; 10 was meant) without normalising the inputs
(``model.normalization: none``).
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from plml.candidates import candidate_losses, candidate_mask
from plml.cones.confidence import LoneCandidate, initial_confidence, pseudo_labels, update_confidence
from plml.cones.correlation import (
    CorrelationNorm,
    centroids,
    co_occurrence,
    normalize_correlation,
    similarity,
    update_correlation,
)
from plml.cones.memory import PrototypeOrder, file_prototypes, newest_first, push
from plml.cones.screening import activation_maps, prototypes, screen
from plml.cones.suppression import SuppressionNorm, negative_weights, suppression_loss
from plml.labels import Batch, LabelInfo, ModelOutput
from plml.methods.base import Compat, Method, TrainingScores
from plml.pseudo_labels import PseudoLabels


class Cones(Method, name="cones"):
    """Pseudo-labels from label correlation, negatives weighted by how easy they are.

    Five options name variants of the released code; ``auto`` is the first one listed when ``compat`` is
    ``reference`` and the second one when it is ``fixed``. The memories are part of every checkpoint: L M D numbers,
    42 MB for VOC and 168 MB for COCO on a ResNet-101.

    Args:
        labels: what is known of the data set.
        tau: screening threshold in [0, 1), share of a class's largest activation; 0 keeps every positive position.
        clusters: k-means clusters of a class's prototypes, >= 1.
        beta: weight of the second term, >= 0; 0 is candidate BCE.
        r_ws: exponent r > 1 of the negative weights; the authors use 3 for VOC and NUS-WIDE, 2 for COCO.
        mu: weight of the old confidence, in [0, 1].
        gamma: weight of the old correlation, in [0, 1]; 1 keeps the co-occurrence.
        memory_per_class: prototypes a class remembers, >= 1.
        proto_order: ``reversed`` files prototypes under mirrored classes, ``by_class`` under their own.
        corr_norm: ``column`` divides column j of the correlation by the sum of row j, ``row`` makes rows sum to 1.
        phi_norm: ``power_of_sum`` or ``sum_of_powers`` (the exact solution) below the negative weights.
        lone_candidate: an image's only candidate is pseudo-``negative`` or pseudo-``positive``.
        cam_scope: which images a class is screened in: the whole ``batch``, or those with it among their
            ``candidates`` (ours).
        compat: see above.
    """

    paper = (
        "Zhong et al., Correlation-Induced Negative Suppression Disambiguation Loss for Partial Multi-label Image "
        "Classification, IEEE TCSVT 2025, https://github.com/zhongjingyu1/CoNeS"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "tau": {"type": "categorical", "choices": [0.05, 0.1, 0.2, 0.3, 0.5]},
        "clusters": {"type": "categorical", "choices": [1, 3, 5, 8]},
        "beta": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
        "r_ws": {"type": "categorical", "choices": [1.5, 2.0, 3.0, 4.0, 6.0]},
        "mu": {"type": "categorical", "choices": [0.9, 0.95, 0.99]},
        "gamma": {"type": "categorical", "choices": [0.9, 0.95, 0.99, 1.0]},
    }
    needs_positives = False
    needs_negatives = True
    needs_class_weights = True
    needs_maps = True
    stackable = False  # k-means works on the host

    confidence: Tensor
    correlation: Tensor
    memory: Tensor
    pushed: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        tau: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        clusters: Annotated[int, Field(ge=1)] = 5,
        beta: Annotated[float, Field(ge=0)] = 0.1,
        r_ws: Annotated[float, Field(gt=1)] = 3.0,
        mu: Annotated[float, Field(ge=0, le=1)] = 0.99,
        gamma: Annotated[float, Field(ge=0, le=1)] = 0.99,
        memory_per_class: Annotated[int, Field(ge=1)] = 256,
        proto_order: Literal["auto", "reversed", "by_class"] = "auto",
        corr_norm: Literal["auto", "column", "row"] = "auto",
        phi_norm: Literal["auto", "power_of_sum", "sum_of_powers"] = "auto",
        lone_candidate: Literal["auto", "negative", "positive"] = "auto",
        cam_scope: Literal["auto", "batch", "candidates"] = "auto",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.tau, self.clusters, self.beta, self.r_ws, self.mu, self.gamma = tau, clusters, beta, r_ws, mu, gamma
        released = compat == "reference"
        self.proto_order: PrototypeOrder = (
            ("reversed" if released else "by_class") if proto_order == "auto" else proto_order
        )
        self.corr_norm: CorrelationNorm = ("column" if released else "row") if corr_norm == "auto" else corr_norm
        self.phi_norm: SuppressionNorm = (
            ("power_of_sum" if released else "sum_of_powers") if phi_norm == "auto" else phi_norm
        )
        self.lone_candidate: LoneCandidate = (
            ("negative" if released else "positive") if lone_candidate == "auto" else lone_candidate
        )
        self.cam_scope = ("batch" if released else "candidates") if cam_scope == "auto" else cam_scope
        candidates = candidate_mask(labels.observed.cpu())  # (N, L)
        classes = candidates.shape[1]
        self.register_buffer("candidates", candidates, persistent=False)
        self.register_buffer("confidence", initial_confidence(candidates))  # (N, L)
        self.register_buffer("correlation", normalize_correlation(co_occurrence(candidates), self.corr_norm))  # (L, L)
        # Without a network yet there is nothing to remember.
        self.register_buffer("memory", torch.zeros(classes, memory_per_class, labels.feature_dim or 0))  # (L, M, D)
        self.register_buffer("pushed", torch.zeros(classes, dtype=torch.int64))  # (L,)

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        candidates = candidate_mask(batch.observed)  # (B, L)
        with torch.no_grad():
            self._remember(out, candidates)
            confidence = update_confidence(
                self.confidence[batch.index], out.logits, candidates, self.correlation, self.mu
            )
            self.confidence[batch.index] = confidence
            pseudo = pseudo_labels(confidence, candidates, self.lone_candidate)
            weights = negative_weights(out.logits, candidates, self.r_ws, self.phi_norm)
        fit = candidate_losses(out.logits, candidates).mean()
        return fit + self.beta * suppression_loss(out.logits, pseudo, candidates, weights)

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        """Draw the correlation towards the memories; in the first epoch they are empty."""
        if epoch == 0:
            return
        counts = self.pushed.tolist()
        size, dim = self.memory.shape[1:]
        usable = torch.tensor([min(count, size) >= self.clusters for count in counts])
        found = torch.zeros(len(counts), self.clusters, dim, dtype=self.memory.dtype)  # (L, k, D)
        for k, count in enumerate(counts):
            if usable[k]:
                found[k] = centroids(newest_first(self.memory[k], count), self.clusters)
        device = self.correlation.device
        similar = similarity(found).to(self.correlation)
        updated = update_correlation(self.correlation, similar, self.gamma, self.corr_norm, usable.to(device))
        self.correlation.copy_(updated)

    def continue_from(self, earlier: Method) -> None:
        """Take over confidence, correlation and memories; the features are those of the same backbone."""
        self.load_state_dict(earlier.state_dict())

    def diagnostics(self) -> dict[str, Tensor]:
        """Figures that need no truth.

        ``confidence_entropy``: mean entropy of the confidence over images with two candidates or more, 1 when all
        their candidates are as likely. ``pseudo_positives``: share of the candidates that are pseudo-positive.
        ``memory_fill``: share of the memories that is filled.
        """
        candidates: Tensor = self.candidates  # type: ignore[assignment]
        count = candidates.sum(dim=1)  # (N,)
        entropy = torch.special.entr(self.confidence).sum(dim=1) / count.clamp(min=2).log()
        several = count > 1
        pseudo = pseudo_labels(self.confidence, candidates, self.lone_candidate)
        filled = self.pushed.clamp(max=self.memory.shape[1]) / self.memory.shape[1]
        return {
            "confidence_entropy": (entropy * several).sum() / several.sum().clamp(min=1),
            "pseudo_positives": pseudo.sum() / candidates.sum().clamp(min=1),
            "memory_fill": filled.mean(),
        }

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels:
        candidates = candidate_mask(batch.observed)
        positive = pseudo_labels(self.confidence[batch.index], candidates, self.lone_candidate)
        return PseudoLabels(positive=positive, negative=candidates & ~positive)

    def matrices(self) -> dict[str, Tensor]:
        """The label correlation (L, L)."""
        return {"correlation": self.correlation}

    def _remember(self, out: ModelOutput, candidates: Tensor) -> None:
        """Push the batch's prototype of every class that is seen in it."""
        assert out.class_weights is not None  # because needs_class_weights
        maps = out.features[:, :, None, None] if out.maps is None else out.maps
        activations = activation_maps(maps, out.class_weights)
        mask, active = screen(activations, self.tau, candidates if self.cam_scope == "candidates" else None)
        push(self.memory, self.pushed, file_prototypes(prototypes(maps, mask), active, self.proto_order), active)
