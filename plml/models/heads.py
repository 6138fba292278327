"""Heads: from a backbone's feature maps (B, D, h, w), or stored features (B, D), to logits (B, L)."""

from torch import Tensor, nn

from plml.labels import ModelOutput


def pool(features: Tensor) -> Tensor:
    """Global average pooling: maps (B, D, h, w) to (B, D); pooled features stay as they are."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


class LinearHead(nn.Module):
    """Global average pooling and one linear layer with bias, in PyTorch's default initialisation."""

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor) -> ModelOutput:
        """Map (B, D, h, w) or (B, D) to logits (B, L) and pooled features (B, D)."""
        pooled = pool(features)
        return ModelOutput(logits=self.linear(pooled), features=pooled)


HEADS: dict[str, type[LinearHead]] = {"linear": LinearHead}
