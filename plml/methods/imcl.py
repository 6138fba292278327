"""IMCL: labels and features of an image should be sparse combinations of those of similar images.

    L = L_log + a_L ||R_L||^2 / B + [a_F ||R_F||^2 / B] + weight_penalty ||W||^2

L_log is the cross entropy over known labels. For every image of the batch a pursuit (:mod:`plml.imcl.pursuit`, no
gradient) chooses a few images of a dictionary; R_L and R_F are what these leave of its completed labels
(:mod:`plml.imcl.completion`) and of its features. An unknown label of a batch image is what the network says, g(z); of
a dictionary image it is g(z_d) G, mixed from the other labels by the label graph G, whose columns sum to 1. The
gradient of R_L trains the classifier through both, and G.

a_L and a_F are ``graph_weight`` and ``feature_weight`` times the ratio of L_log to the term on the first batch that
has a dictionary. At evaluation neither dictionary nor graph is used.

Huynh and Elhamifar, Interactive Multi-Label CNN Learning With Partial Labels, CVPR 2020. Here the dictionary is a
queue of the latest training images with their labels and the features they had then, held constant; the released code
encodes a fixed dictionary anew, at every step or every few thousand, and trains the network through it as well. Its
experiments: CUB G = I and not trained, graph_weight 2, feature_weight 0.5 with feature_loss, weight_penalty 1e-4;
OpenImages features (1, 0.5, 0) and one neighbour, end to end (1, 0, 0); COCO (0.5, 0.25, 0) without feature_loss,
c = 1, threshold 1e-20. They start from a network trained with L_log alone.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plml.imcl.completion import complete, known_cross_entropy, squash
from plml.imcl.pursuit import TINY, Support, pursue, residual
from plml.label_graph.initial import GraphInit, initial_graph
from plml.label_graph.terms import normalize_columns
from plml.labels import NEGATIVE, POSITIVE, Batch, LabelInfo, ModelOutput
from plml.methods.base import Compat, Method
from plml.pseudo_labels import PseudoLabels
from plml.unknown_labels import UnknownLabels, fill, resolve

SMALLEST_SHARE = 1e-3  # of what a term would be without neighbours


class IMCL(Method, name="imcl"):
    """Interactive learning of image similarity, label similarity and the network.

    Args:
        labels: what is known of the data set.
        graph_weight: weight of the label term, through which the label graph acts, >= 0; 0 switches it off.
        feature_weight: weight of the features in the pursuit, >= 0, and of the feature term.
        feature_loss: the feature term is part of the loss. A backbone that is trained from scratch can shrink this term
            by making all features alike, so it is left out by default, as in the COCO experiments.
        neighbours: k >= 1, most dictionary images of an image.
        asymmetry: c >= 1; a known negative counts -1/c.
        selection_threshold: smallest score with which a dictionary image is chosen, > 0.
        dictionary_size: images in the queue, >= 1; never more than there are training images.
        weight_penalty: weight of the squared norm of the class weights, >= 0.
        graph_init: ``identity``, ``cooccurrence`` of the observed labels (under single positives, which show no pair,
            that is the identity) or ``file``.
        graph_file: an .npy or .csv matrix, for ``graph_init: file``.
        graph_trainable: ``none``, ``pattern`` (entries that are not 0 at the start) or ``full``. Entries are clipped to
            [0, 1] after each step.
        graph_lr_mult: learning rate of the graph over that of the network, > 0.
        unknown: unknown labels are unknown (``ignore``) or have a value; see :func:`plml.unknown_labels.resolve`.
        compat: ``reference`` keeps a slip of the released pursuit, by which the dictionary's first image ends it, and
            tells an image from its own copy in the dictionary by its features alone.
    """

    paper = (
        "Huynh and Elhamifar, Interactive Multi-Label CNN Learning With Partial Labels, CVPR 2020, "
        "https://openaccess.thecvf.com/content_CVPR_2020/html/Huynh_Interactive_Multi-Label_CNN_Learning_With_"
        "Partial_Labels_CVPR_2020_paper.html"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "graph_weight": {"type": "float", "low": 1e-4, "high": 2.0, "log": True, "or_zero": True},
        "feature_weight": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "or_zero": True},
        "neighbours": {"type": "categorical", "choices": [1, 3, 5]},
    }
    needs_positives = False
    needs_class_weights = True
    stackable = False

    graph: Tensor
    pattern: Tensor
    dictionary_features: Tensor
    dictionary_observed: Tensor
    dictionary_index: Tensor
    written: Tensor
    ratios: Tensor
    balanced: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        graph_weight: Annotated[float, Field(ge=0)] = 1.0,
        feature_weight: Annotated[float, Field(ge=0)] = 0.5,
        feature_loss: bool = False,
        neighbours: Annotated[int, Field(ge=1)] = 3,
        asymmetry: Annotated[float, Field(ge=1)] = 2.0,
        selection_threshold: Annotated[float, Field(gt=0)] = 1e-6,
        dictionary_size: Annotated[int, Field(ge=1)] = 2048,
        weight_penalty: Annotated[float, Field(ge=0)] = 0.0,
        graph_init: GraphInit = "identity",
        graph_file: str | None = None,
        graph_trainable: Literal["none", "pattern", "full"] = "full",
        graph_lr_mult: Annotated[float, Field(gt=0)] = 1.0,
        unknown: UnknownLabels = "auto",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        self.graph_weight, self.feature_weight, self.weight_penalty = graph_weight, feature_weight, weight_penalty
        self.neighbours, self.asymmetry, self.selection_threshold = neighbours, asymmetry, selection_threshold
        self.graph_lr_mult, self.feature_loss = graph_lr_mult, feature_loss
        self.unknown = resolve(unknown, labels.observed)
        start = initial_graph(graph_init, labels, graph_file)  # (L, L)
        free = torch.ones_like(start) if graph_trainable != "pattern" else (start != 0).float()
        self.register_buffer("pattern", free, persistent=False)  # (L, L), follows from the options
        if graph_trainable == "none":
            self.register_buffer("graph", start)
        else:
            self.graph = nn.Parameter(start)
        size, classes = min(dictionary_size, len(labels.observed)), len(start)
        # Without a network yet there is nothing to remember.
        self.register_buffer("dictionary_features", torch.zeros(size, labels.feature_dim or 0))  # (M, D)
        self.register_buffer("dictionary_observed", torch.zeros(size, classes, dtype=torch.int8))  # (M, L)
        self.register_buffer("dictionary_index", torch.full((size,), -1))  # (M,), place in the training split
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))  # images queued so far
        self.register_buffer("ratios", torch.ones(2))  # L_log over the label term, and over the feature term
        self.register_buffer("balanced", torch.zeros((), dtype=torch.bool))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        assert out.class_weights is not None  # because needs_class_weights
        signed, graph = self._signed(batch.observed), self.label_graph()
        labels = complete(signed, squash(out.logits, self.asymmetry), self.asymmetry)  # (B, L)
        with torch.no_grad():
            everything = self._dictionary_labels(self.dictionary_features, self.dictionary_observed, out, graph)
        support = self._support(labels, everything, out, batch)
        chosen = self.dictionary_features[support.indices]  # (B, k, D)
        explaining = self._dictionary_labels(chosen, self.dictionary_observed[support.indices], out, graph)
        label_rest = residual(labels, explaining, support.label_weights)  # (B, L)
        feature_rest = residual(with_one(out.features), with_one(chosen), support.feature_weights)  # (B, D + 1)
        ready = self.written > 0  # before the first step there is nothing to be similar to
        terms = torch.stack([label_rest.square().sum(), feature_rest.square().sum()]) / len(labels)
        terms = torch.where(ready, terms, torch.zeros_like(terms))
        known = known_cross_entropy(out.logits, signed)
        with torch.no_grad():
            # A first batch that is explained almost exactly must not blow a term up for all later ones.
            energy = torch.stack([labels.square().sum(), with_one(out.features).square().sum()]) / len(labels)
            measured = known / torch.maximum(terms, SMALLEST_SHARE * energy).clamp(min=TINY)
            self.ratios.copy_(torch.where(ready & ~self.balanced, measured, self.ratios))
            self.balanced.copy_(self.balanced | ready)
        loss = known + self.graph_weight * self.ratios[0] * terms[0]
        if self.feature_loss:
            loss = loss + self.feature_weight * self.ratios[1] * terms[1]
        return loss + self.weight_penalty * out.class_weights.square().sum()

    def label_graph(self) -> Tensor:
        """Return G (L, L) as it mixes labels: columns sum to 1."""
        return normalize_columns(self.graph * self.pattern)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        own = list(self.parameters())
        return [{"params": own, "lr": self.graph_lr_mult * lr, "weight_decay": 0.0}] if own else []

    def continue_from(self, earlier: Method) -> None:
        """Keep the label graph of the first stage; its features are another network's."""
        assert isinstance(earlier, IMCL)
        with torch.no_grad():
            self.graph.copy_(earlier.graph)

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        """Clip the graph and put the batch in the place of the oldest images."""
        self.graph.clamp_(0.0, 1.0)
        size = len(self.dictionary_index)
        count = min(len(batch.index), size)
        places = (self.written + torch.arange(count, device=self.written.device)) % size
        self.dictionary_features[places] = out.features[:count].detach()
        self.dictionary_observed[places] = batch.observed[:count]
        self.dictionary_index[places] = batch.index[:count]
        self.written += count

    def diagnostics(self) -> dict[str, Tensor]:
        """Mean of G off its diagonal, and the ratios that balance the two terms."""
        graph = self.label_graph()
        joined = graph.sum() - graph.diagonal().sum()
        pairs = max(len(graph) * (len(graph) - 1), 1)
        return {"graph_off_diagonal": joined / pairs, "label_ratio": self.ratios[0], "feature_ratio": self.ratios[1]}

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels | None:
        """How unknown labels are completed: by the sign of g; None where they have an assumed value."""
        if self.unknown != "ignore":
            return None
        completed = squash(out.logits, self.asymmetry)
        return PseudoLabels(positive=completed > 0, negative=completed < 0)

    def matrices(self) -> dict[str, Tensor]:
        return {"graph": self.label_graph().detach()}

    def _signed(self, observed: Tensor) -> Tensor:
        """Labels as 1, -1 and 0 where nothing is known or assumed."""
        filled = fill(observed, self.unknown)
        return (filled == POSITIVE).long() - (filled == NEGATIVE).long()

    def _dictionary_labels(self, features: Tensor, observed: Tensor, out: ModelOutput, graph: Tensor) -> Tensor:
        """Completed labels (..., L) of dictionary images with ``features`` (..., D)."""
        assert out.class_weights is not None
        value = squash(F.linear(features, out.class_weights, out.class_bias), self.asymmetry) @ graph
        return complete(self._signed(observed), value, self.asymmetry)

    def _support(self, labels: Tensor, everything: Tensor, out: ModelOutput, batch: Batch) -> Support:
        size = len(self.dictionary_index)
        filled = torch.arange(size, device=labels.device) < self.written  # (M,)
        allowed = filled.expand(len(labels), size)  # (B, M)
        if self.compat == "fixed":
            allowed = allowed & (self.dictionary_index != batch.index[:, None])
        return pursue(
            labels.detach(),
            with_one(out.features.detach()),
            everything,
            with_one(self.dictionary_features),
            allowed,
            neighbours=self.neighbours,
            label_weight=self.graph_weight * self.ratios[0],
            feature_weight=self.feature_weight * self.ratios[1],
            threshold=self.selection_threshold,
            wasted_first=self.compat == "reference",
        )


def with_one(features: Tensor) -> Tensor:
    """Append a constant 1 to feature vectors (..., D), as the released code does."""
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
