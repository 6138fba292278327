"""The contract of a head: one file in this folder, registered by subclassing."""

from typing import ClassVar

from torch import Tensor, nn

from plml.labels import ModelOutput

HEADS: dict[str, type["Head"]] = {}


class Head(nn.Module):
    """From a backbone's feature maps (B, D, h, w), or stored features (B, D), to logits (B, L).

    Stored features count as maps of one position. A subclass names itself (``class LinearHead(Head, name="linear")``)
    and takes ``feature_dim`` D, ``num_classes`` L and keyword-only options.

    Class attributes:
        source: paper, venue and arXiv id.
        gives_class_weights: the outputs carry ``class_weights`` (L, D).
    """

    name: ClassVar[str]
    source: ClassVar[str]
    gives_class_weights: ClassVar[bool] = True

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        if name in HEADS:
            raise TypeError(f"two heads are named '{name}'")
        cls.name = name
        HEADS[name] = cls

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.feature_dim, self.num_classes = feature_dim, num_classes

    def forward(self, features: Tensor) -> ModelOutput:
        """Map (B, D, h, w) or (B, D) to logits (B, L), pooled features (B, D), maps and class weights."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def class_maps(self, features: Tensor) -> Tensor:
        """Return what every position says of every class, (B, L, h, w), of maps (B, D, h, w).

        The mean over positions is the logit: a map shows where the logit comes from, and how high it is.
        """
        raise TypeError(f"{type(self).__name__} does not define class_maps")


def pool(features: Tensor) -> Tensor:
    """Global average pooling: maps (B, D, h, w) to (B, D); pooled features stay as they are."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def as_maps(features: Tensor) -> Tensor:
    """Return maps (B, D, h, w); pooled features (B, D) become maps of one position."""
    return features if features.ndim == 4 else features[:, :, None, None]
