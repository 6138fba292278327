"""The network that is exported: everything between the pixels of a decoded image and its probabilities, in one graph.

Resizing is part of it: PyTorch's antialiased bilinear resize of uint8 images, and ONNX's, agree with Pillow's, which
training uses, up to one grey level of 255 here and there; images that have the network's size pass unchanged. Decoding
files is not.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plml.checkpoint import load_checkpoint
from plml.config import TrainConfig
from plml.models import Classifier
from plml.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from plml.predictor import Predictor
from plml.restored import checkpoint_config, restore
from plml.thresholds.calibration import Calibration


class ExportedNetwork(nn.Module):
    """Images (N, H, W, C) uint8 of any size, or features (N, D), to probabilities and logits (N, L).

    Args:
        model: in evaluation mode.
        size: side of the images that the backbone takes, in pixels; None for a head on features.
        calibration: of the probabilities; logits are those of the model.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Classifier, size: int | None, calibration: Calibration) -> None:
        super().__init__()
        self.backbone, self.head, self.size = model.backbone, model.head, size
        self.photo, self.normalized = model.photo, model.normalized
        self.slope, self.offset = calibration
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits."""
        features = inputs if self.backbone is None else self.backbone(self.preprocessed(inputs))
        logits = self.head(features).logits
        return (logits * self.slope + self.offset).sigmoid(), logits

    def preprocessed(self, images: Tensor) -> Tensor:
        """Return what the backbone takes, (N, C, S, S) float, of images (N, H, W, C) uint8."""
        assert self.size is not None
        shaped = images.permute(0, 3, 1, 2)
        shaped = F.interpolate(shaped, size=(self.size, self.size), mode="bilinear", antialias=True).float().div(255)
        if self.photo and images.shape[3] == 1:
            shaped = shaped.expand(-1, 3, -1, -1)
        return shaped.sub(self.mean).div(self.std) if self.normalized else shaped


@dataclass(frozen=True)
class Subject:
    """A checkpoint that is to be exported.

    Attributes:
        checkpoint: its file.
        content: what it holds.
        config: the run's configuration.
        model: backbone and head, or the head alone where the run was trained on ready-made features.
        predictor: what scores images with it; None where it takes features.
        inputs: shape of one input: (S, S, C) of images, (D,) of features.
    """

    checkpoint: Path
    content: dict[str, Any]
    config: TrainConfig
    model: Classifier
    predictor: Predictor | None
    inputs: tuple[int, ...]

    @classmethod
    def read(cls, checkpoint: Path, weights: str | None = None) -> "Subject":
        """Read a checkpoint; a run of mode ``linear`` on images gets its frozen backbone back."""
        content = load_checkpoint(checkpoint)
        if content["image_size"] is None:
            config = checkpoint_config(content)
            return cls(checkpoint, content, config, restore(content, config), None, tuple(content["input_shape"]))
        predictor = Predictor(checkpoint, "cpu", weights)
        shape = (predictor.size, predictor.size, predictor.channels)
        return cls(checkpoint, content, predictor.config, predictor.model, predictor, shape)

    @property
    def input_name(self) -> str:
        """What the graph calls its input."""
        return "features" if self.predictor is None else "images"

    def network(self, calibration: Calibration) -> ExportedNetwork:
        """Return the network, in evaluation mode."""
        size = None if self.predictor is None else self.inputs[0]
        # A copy in the usual layout: a file should not depend on what is quick on this machine.
        model = copy.deepcopy(self.model).to(memory_format=torch.contiguous_format)
        return ExportedNetwork(model, size, calibration).eval()

    def random_inputs(self, count: int, *, size: tuple[int, int] | None = None, seed: int = 0) -> Tensor:
        """Return inputs to try the network on: smooth random images with some noise, or features.

        Args:
            count: N.
            size: height and width of images; default: those of the network.
            seed: of the draw.
        """
        generator = torch.Generator().manual_seed(seed)
        if self.predictor is None:
            return torch.randn(count, *self.inputs, generator=generator)
        height, width = size or self.inputs[:2]
        coarse = torch.rand(count, self.inputs[2], 6, 6, generator=generator)
        smooth = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
        noisy = 255 * smooth + 12 * torch.randn(smooth.shape, generator=generator)
        return noisy.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def reference(self, inputs: Tensor) -> Tensor:
        """Return what plml itself says of ``inputs``: logits (N, L); images are resized by Pillow."""
        if self.predictor is None:
            with torch.no_grad():
                return self.model(inputs).logits
        return self.predictor.logits([self.predictor.resized(image) for image in inputs.numpy()])


def exported_program(subject: Subject, network: ExportedNetwork) -> torch.export.ExportedProgram:
    """Return the graph, for any number of inputs and images of any size."""
    dims = {0: torch.export.Dim("N")}
    example = subject.random_inputs(2)
    if subject.predictor is not None:
        dims |= {1: torch.export.Dim("H"), 2: torch.export.Dim("W")}
        # Not of the network's own size, which would become the only one.
        example = subject.random_inputs(2, size=(subject.inputs[0] + 6, subject.inputs[0] + 16))
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(dims,))
