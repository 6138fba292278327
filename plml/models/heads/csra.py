"""CSRA: class-specific residual attention over the positions of the feature map.

    s_ku = w_k . x_u / ||w_k||
    logit_k = mean over u of s_ku + lam * sum over u of softmax_u(T s_ku) s_ku,   T = inf: lam * max over u of s_ku

Several heads have weights of their own, the temperatures of the paper's table and the same lam; their logits are
summed. There is no bias. Zhu and Wu, Residual Attention: A Simple but Effective Method for Multi-Label Recognition,
ICCV 2021, arXiv:2108.02456.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plml.labels import ModelOutput
from plml.models.heads.base import Head, as_maps, pool

# Temperatures by number of heads; inf takes the maximum over positions.
TEMPERATURES: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, math.inf),
    4: (1.0, 2.0, 4.0, math.inf),
    6: (1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    8: (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf),
}


class CSRAHead(Head, name="csra"):
    """Sum of residual-attention heads with normalised class weights.

    It gives no ``class_weights``: the attention weighs positions by class, so no single vector says how a class reads
    a pooled feature. On stored features, maps of one position, a logit is (1 + lam) times the sum of the scores.

    Args:
        feature_dim: D.
        num_classes: L.
        num_heads: 1, 2, 4, 6 or 8.
        lam: weight of the attention term, >= 0; 0 is average pooling with normalised weights.
    """

    source = "Zhu and Wu, Residual Attention (CSRA), ICCV 2021, arXiv:2108.02456"
    gives_class_weights = False

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        *,
        num_heads: Literal[1, 2, 4, 6, 8] = 1,
        lam: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        super().__init__(feature_dim, num_classes)
        self.temperatures, self.lam = TEMPERATURES[num_heads], lam
        bound = 1.0 / math.sqrt(feature_dim)  # a linear layer's default start
        self.weights = nn.Parameter(torch.empty(num_heads, num_classes, feature_dim).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> ModelOutput:
        maps = as_maps(features)
        return ModelOutput(logits=self.head_logits(maps).sum(dim=0), features=pool(features), maps=maps)

    def head_logits(self, maps: Tensor) -> Tensor:
        """Return the logits of every head, (heads, B, L), of maps (B, D, h, w)."""
        scores = self._scores(maps)
        attended = [attend(score, temperature) for score, temperature in zip(scores, self.temperatures, strict=True)]
        return scores.mean(dim=3) + self.lam * torch.stack(attended)

    def class_maps(self, features: Tensor) -> Tensor:
        """Scores of all heads, every position multiplied by 1 + lam h w a_u, where a_u is its attention."""
        maps = as_maps(features)
        total = torch.zeros_like(self._scores(maps)[0])  # (B, L, U)
        for score, temperature in zip(self._scores(maps), self.temperatures, strict=True):
            total = total + score * (1.0 + self.lam * score.shape[2] * attention(score, temperature))
        return total.unflatten(2, maps.shape[2:])

    def _scores(self, maps: Tensor) -> Tensor:
        """Scores s (heads, B, L, U) at the U positions of maps (B, D, h, w)."""
        return F.normalize(self.weights, dim=2)[:, None] @ maps.flatten(2)


def attend(scores: Tensor, temperature: float) -> Tensor:
    """Return (B, L): the mean of ``scores`` (B, L, U) over positions, weighted by softmax(temperature * scores)."""
    if math.isinf(temperature):
        return scores.amax(dim=2)
    return ((temperature * scores).softmax(dim=2) * scores).sum(dim=2)


def attention(scores: Tensor, temperature: float) -> Tensor:
    """Return the weights (B, L, U) with which :func:`attend` takes its mean; positions that tie share them."""
    if math.isinf(temperature):
        largest = (scores == scores.amax(dim=2, keepdim=True)).to(scores.dtype)
        return largest / largest.sum(dim=2, keepdim=True)
    return (temperature * scores).softmax(dim=2)
