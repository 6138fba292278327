"""Backbones: networks from images to feature maps (B, D, h, w). Adding one = one line in ``BACKBONES``.

The networks of torchvision are imported when one is built, so that naming them costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class BackboneSpec:
    """How a backbone is built.

    Attributes:
        build: from the number of input channels to the module that maps images (B, C, H, W) to (B, feature_dim, h, w).
        feature_dim: D.
        photo: takes 3 channels normalised with ImageNet's mean and standard deviation; else any C, scaled to mean
            near 0.
        classifier_prefix: how keys of the original classifier start in published weight files.
    """

    build: Callable[[int], nn.Module]
    feature_dim: int
    photo: bool
    classifier_prefix: str


class SmallCNN(nn.Module):
    """Four convolutions with batch normalisation, stride 4 in all: seconds an epoch on one CPU core.

    Meant for small images (24 to 64 pixels); the receptive field is 21 pixels.

    Args:
        channels: C of the input, any number.
    """

    feature_dim = 96

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _block(channels, 16, kernel=5, stride=2),
            _block(16, 32, kernel=3, stride=1),
            _block(32, 64, kernel=3, stride=2),
            _block(64, self.feature_dim, kernel=3, stride=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 96, H/4, W/4)."""
        out: Tensor = self.layers(images)
        return out


def _block(channels: int, width: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class ResNetMaps(nn.Module):
    """A torchvision ResNet up to its last feature maps; parameter names are torchvision's own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from torchvision.models import get_model

        full = get_model(name, weights=None)
        for key, child in full.named_children():
            if key not in ("avgpool", "fc"):
                self.add_module(key, child)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, D, H/32, W/32)."""
        out = images
        for child in self.children():
            out = child(out)
        return out


class MobileNetMaps(nn.Module):
    """torchvision's MobileNetV2 up to its last feature maps; parameter names are torchvision's own."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import get_model

        self.features = get_model("mobilenet_v2", weights=None).features

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1280, H/32, W/32)."""
        out: Tensor = self.features(images)
        return out


BACKBONES: dict[str, BackboneSpec] = {
    "small_cnn": BackboneSpec(SmallCNN, SmallCNN.feature_dim, photo=False, classifier_prefix="head."),
    "mobilenet_v2": BackboneSpec(lambda _: MobileNetMaps(), 1280, photo=True, classifier_prefix="classifier."),
    "resnet18": BackboneSpec(lambda _: ResNetMaps("resnet18"), 512, photo=True, classifier_prefix="fc."),
    "resnet50": BackboneSpec(lambda _: ResNetMaps("resnet50"), 2048, photo=True, classifier_prefix="fc."),
    "resnet101": BackboneSpec(lambda _: ResNetMaps("resnet101"), 2048, photo=True, classifier_prefix="fc."),
}
