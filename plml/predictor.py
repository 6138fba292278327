"""A checkpoint made ready for images: files, or arrays of pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from plml.checkpoint import load_checkpoint
from plml.data.pixels import decode, decode_bytes, resize
from plml.device import pick_device
from plml.errors import CheckpointError, DataError
from plml.models import Classifier, build_model
from plml.numerics import lay_out
from plml.restored import checkpoint_config, restore
from plml.scoring import pass_size


class Predictor:
    """A network that scores images.

    Args:
        checkpoint: ``best.pt`` or ``last.pt`` of a run that was trained on images or on features of images.
        device: see :func:`plml.device.pick_device`.
        weights: backbone weights of a run in linear mode, if they moved since.

    Attributes:
        content: what the checkpoint holds.
        config: the run's configuration.
        class_names: the L names, in column order.
        size: side of the square images that the network takes, in pixels.
        channels: of these images, 1 or 3.
        batch_size: images that are scored in one pass, see :func:`plml.scoring.pass_size`.
        model: backbone and head, in evaluation mode, on the device.

    Raises:
        CheckpointError: the run was trained on ready-made features, so no image can be scored.
    """

    def __init__(self, checkpoint: Path, device: str = "auto", weights: str | None = None) -> None:
        self.content: dict[str, Any] = load_checkpoint(checkpoint)
        self.config = checkpoint_config(self.content)
        self.class_names: Sequence[str] = self.content["class_names"]
        if self.content["image_size"] is None:
            raise CheckpointError(f"{checkpoint} was trained on ready-made features; it cannot score image files")
        self.size = int(self.content["image_size"])
        self.device = pick_device(device)
        self.model = restore(self.content, self.config)
        self.channels = 3
        if len(self.content["input_shape"]) == 3:
            self.channels = int(self.content["input_shape"][2])
        else:
            self.model = self._with_backbone(weights)
        self.model.to(self.device).eval()
        lay_out(self.model, self.device, "paper")
        self.batch_size = pass_size(torch.Size((self.channels, self.size, self.size)), self.device)

    def _with_backbone(self, weights: str | None) -> Classifier:
        """Put the frozen backbone, whose features the head was trained on, before the head."""
        config = self.config.model.model_copy(update={"weights": weights or self.config.model.weights})
        whole = build_model(config, num_classes=len(self.class_names), input_shape=(3, self.size, self.size))
        whole.head.load_state_dict(self.model.head.state_dict())
        return whole

    def whole_checkpoint(self) -> dict[str, Any]:
        """Return a checkpoint that needs no other file: of a run in linear mode it has the backbone's weights too."""
        state = {name: value.cpu() for name, value in self.model.state_dict().items()}
        kept = {key: self.content[key] for key in ("config", "fingerprint", "data", "class_names", "image_size")}
        shape = [self.size, self.size, self.channels]
        return {**kept, "epoch": self.content["epoch"], "model": state, "input_shape": shape}

    def pixels(self, file: Path) -> NDArray[np.uint8]:
        """Decode and resize an image file as in training; (S, S, C) uint8."""
        return self._channels(decode(file, self.size))

    def pixels_of(self, content: bytes, name: str) -> NDArray[np.uint8]:
        """Do as :meth:`pixels` with the content of a file, which errors call ``name``."""
        return self._channels(decode_bytes(content, self.size, name))

    def resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize an image (H, W), (H, W, 1) or (H, W, 3) as in training; (S, S, C) uint8.

        Raises:
            DataError: it is no such image.
        """
        flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
        if image.dtype != np.uint8 or not (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] == 3)):
            raise DataError(
                f"an image must be uint8 of shape (height, width, 3) or (height, width, 1), got {image.dtype} "
                f"{image.shape}"
            )
        if flat.shape[:2] == (self.size, self.size) and image.ndim == 3 and image.shape[2] == self.channels:
            return image
        return self._channels(resize(Image.fromarray(flat), self.size))

    def _channels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return pixels if self.channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]

    def batch(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return images (S, S, C) as the network takes them: float (B, C, S, S), on the device."""
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return self.model.preprocess(stacked.to(self.device))

    @torch.no_grad()
    def logits(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return the logits (B, L) float32 of images (S, S, C), on the CPU."""
        size = self.batch_size
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        rows = [self.model(self.batch(chunk)).logits.float().cpu() for chunk in chunks]
        return torch.cat(rows) if rows else torch.empty(0, len(self.class_names))

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return the probabilities (B, L) of images (S, S, C), on the CPU."""
        return self.logits(images).sigmoid()

    def __call__(self, files: Sequence[Path]) -> Iterator[tuple[Path, Tensor]]:
        """Yield each file with its probabilities (L,), in order; raise DataError for an unreadable image."""
        for start in range(0, len(files), self.batch_size):
            chunk = files[start : start + self.batch_size]
            yield from zip(chunk, self.probabilities([self.pixels(file) for file in chunk]), strict=True)
