"""The network that is trained: preprocessing, backbone, head."""

from typing import Any

import torch
from torch import Tensor, nn

from plml.config import ModelConfig
from plml.errors import ConfigError
from plml.labels import ModelOutput
from plml.models.backbones import BACKBONES
from plml.models.heads import HEADS, Head
from plml.models.normalization import normalize
from plml.models.weights import load_backbone_weights


class Classifier(nn.Module):
    """Backbone and head; without a backbone the inputs are features and the head is all there is.

    Args:
        backbone: maps images (B, C, H, W) to (B, D, h, w), or None.
        head: maps those, or features (B, D), to a ModelOutput.
        photo: images have 3 channels; a single one is repeated.
        normalized: normalise with ImageNet's mean and standard deviation; else scale to [0, 1] only.
    """

    def __init__(
        self, backbone: nn.Module | None, head: Head, *, photo: bool = False, normalized: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._compiled = False
        self._full_batch: dict[bool, int] = {}  # by training mode
        self.photo, self.normalized = photo, normalized

    @property
    def feature_dim(self) -> int:
        """D, the width of pooled features."""
        return self.head.feature_dim

    def preprocess(self, inputs: Tensor) -> Tensor:
        """Return float inputs: uint8 images (B, C, H, W) are scaled and normalised, floats are taken as they are."""
        if inputs.is_floating_point():
            return inputs
        if self.photo and inputs.shape[1] == 1:
            inputs = inputs.expand(-1, 3, -1, -1)
        return normalize(inputs) if self.normalized else inputs.float().div(255)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Return logits (B, L) and pooled features (B, D) of images (uint8, or preprocessed) or features."""
        features = self.features(inputs)
        # Under autocast the head still computes in single precision: half the digits would tie thousands of scores.
        with torch.autocast(features.device.type, enabled=False):
            out: ModelOutput = self.head(features.float() if features.dtype == torch.bfloat16 else features)
        return out

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the head takes: maps (B, D, h, w) of images, or features (B, D) as they are."""
        inputs = self.preprocess(inputs)
        if self.backbone is None:
            return inputs
        if self._compiled and len(inputs) % self._full_batch.setdefault(self.training, len(inputs)) != 0:
            return self.backbone.forward(inputs)  # an incomplete batch: not worth a compiled network of its own
        return self.backbone(inputs)

    def compile_backbone(self) -> None:
        """From now on run full batches through a compiled backbone; names of parameters stay as they are.

        The first batch after this, in training and in evaluation mode each, says what a full batch is.
        """
        if self.backbone is not None:
            on_cuda = next(self.parameters()).is_cuda
            self.backbone.compile(dynamic=False, mode="reduce-overhead" if on_cuda else None)
            self._compiled = True

    def param_groups(self, lr: float, head_lr_mult: float = 1.0) -> list[dict[str, Any]]:
        """Return optimiser groups: backbone at ``lr``, head at ``lr * head_lr_mult``."""
        groups = [{"params": list(self.head.parameters()), "lr": lr * head_lr_mult}]
        if self.backbone is not None:
            groups.insert(0, {"params": list(self.backbone.parameters()), "lr": lr})
        return groups


def build_model(config: ModelConfig, *, num_classes: int, input_shape: tuple[int, ...]) -> Classifier:
    """Build the network of ``config``; its random start comes from torch's global generator, backbone first.

    Args:
        config: backbone, weights and head.
        num_classes: L.
        input_shape: (C, H, W) of images, or (D,) of features: then the model is the head alone.

    Raises:
        ConfigError: the backbone cannot take such images.
        DataError: the weights are missing or do not fit.
    """
    spec = BACKBONES[config.backbone]
    options = {key: value for key, value in config.head.items() if key != "name"}
    make_head = HEADS[config.head["name"]]
    if len(input_shape) == 1:
        return Classifier(None, make_head(input_shape[0], num_classes, **options))
    normalized = spec.photo if config.normalization == "auto" else config.normalization == "imagenet"
    channels = input_shape[0]
    if spec.photo and channels not in (1, 3):
        raise ConfigError(
            f"model.backbone: '{config.backbone}' takes images of 3 channels, or 1 that it repeats, got {channels}"
        )
    if normalized and not spec.photo and channels != 3:
        raise ConfigError(f"model.normalization: 'imagenet' is for images of 3 channels, got {channels}")
    backbone = spec.build(channels)
    if config.weights is not None:
        load_backbone_weights(backbone, config)
    head = make_head(spec.feature_dim, num_classes, **options)
    return Classifier(backbone, head, photo=spec.photo, normalized=normalized)
