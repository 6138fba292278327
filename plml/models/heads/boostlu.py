"""BoostLU: class activation maps are boosted where they are positive, then pooled.

    A = W F + b at every position u;   A'_ku = alpha A_ku where A_ku > 0, A_ku elsewhere;   z_k = mean over u of A'_ku

Labels that are missing make a network timid: its class activation maps keep their shape but lose height. The boost
gives the height back, in training and at evaluation alike, so it can stand under any method.
Kim et al., Bridging the Gap between Model Explanations in Partially Annotated Multi-label Classification, CVPR 2023,
arXiv:2304.01804.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plml.labels import ModelOutput
from plml.models.heads.base import Head, as_maps, pool


class BoostLUHead(Head, name="boostlu"):
    """A 1x1 convolution with bias, the boost, and global average pooling.

    ``class_weights`` and ``class_bias`` are those of the convolution: they give the class activation map before the
    boost. The bias is boosted together with the map, as in the released code. Stored features are maps of one
    position: their logit itself is boosted.

    Args:
        feature_dim: D.
        num_classes: L.
        alpha: factor on positive activations, > 0; 1 is the plain linear head.
    """

    source = "Kim et al., Bridging the Gap (BoostLU), CVPR 2023, arXiv:2304.01804"

    def __init__(self, feature_dim: int, num_classes: int, *, alpha: Annotated[float, Field(gt=0)] = 5.0) -> None:
        super().__init__(feature_dim, num_classes)
        self.alpha = alpha
        self.linear = nn.Linear(feature_dim, num_classes)  # a 1x1 convolution, stored as the matrix that it is

    def forward(self, features: Tensor) -> ModelOutput:
        return ModelOutput(
            logits=self.class_maps(features).mean(dim=(2, 3)),
            features=pool(features),
            maps=as_maps(features),
            class_weights=self.linear.weight,
            class_bias=self.linear.bias,
        )

    def class_maps(self, features: Tensor) -> Tensor:
        """A': class activation maps with their positive part multiplied by alpha."""
        activation = F.conv2d(as_maps(features), self.linear.weight[:, :, None, None], self.linear.bias)
        return torch.where(activation > 0, self.alpha * activation, activation)  # (B, L, h, w)
