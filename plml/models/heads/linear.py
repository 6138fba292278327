"""The plain head: global average pooling and one linear layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from plml.labels import ModelOutput
from plml.models.heads.base import Head, as_maps, pool


class LinearHead(Head, name="linear"):
    """Global average pooling and one linear layer with bias, in PyTorch's default initialisation."""

    source = "common practice"

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        self.linear = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor) -> ModelOutput:
        pooled = pool(features)
        return ModelOutput(
            logits=self.linear(pooled),
            features=pooled,
            maps=as_maps(features),
            class_weights=self.linear.weight,
            class_bias=self.linear.bias,
        )

    def class_maps(self, features: Tensor) -> Tensor:
        """Class activation maps: w . x + b at every position."""
        return F.conv2d(as_maps(features), self.linear.weight[:, :, None, None], self.linear.bias)
