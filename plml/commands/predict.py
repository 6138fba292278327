"""``plml predict``: class names and probabilities of images, from a checkpoint."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from plml.checkpoint import load_checkpoint
from plml.cli import DONE
from plml.commands.evaluate import checkpoint_config, restore
from plml.data.pixels import decode
from plml.device import pick_device
from plml.errors import CheckpointError, ConfigError, DataError
from plml.models import Classifier, build_model

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
BATCH = 16


class Predictor:
    """A checkpoint made ready for image files.

    Args:
        checkpoint: ``best.pt`` or ``last.pt`` of a run that was trained on images or on features of images.
        device: see :func:`plml.device.pick_device`.
        weights: backbone weights of a run in linear mode, if they moved since.

    Raises:
        CheckpointError: the run was trained on ready-made features, so no image can be scored.
    """

    def __init__(self, checkpoint: Path, device: str = "auto", weights: str | None = None) -> None:
        content = load_checkpoint(checkpoint)
        config = checkpoint_config(content)
        self.class_names: Sequence[str] = content["class_names"]
        if content["image_size"] is None:
            raise CheckpointError(f"{checkpoint} was trained on ready-made features; it cannot score image files")
        self.size = int(content["image_size"])
        self.device = pick_device(device)
        self.model = restore(content, config)
        self.channels = 3
        if len(content["input_shape"]) == 3:
            self.channels = int(content["input_shape"][2])
        else:
            self.model = self._with_backbone(config.model, weights)
        self.model.to(self.device).eval()

    def _with_backbone(self, model_config: Any, weights: str | None) -> Classifier:
        """Put the frozen backbone, whose features the head was trained on, before the head."""
        config = model_config.model_copy(update={"weights": weights or model_config.weights})
        whole = build_model(config, num_classes=len(self.class_names), input_shape=(3, self.size, self.size))
        whole.head.load_state_dict(self.model.head.state_dict())
        return whole

    def _pixels(self, file: Path) -> NDArray[np.uint8]:
        """Decode and resize as in training; (S, S, C) uint8."""
        pixels = decode(file, self.size)
        return pixels if self.channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]

    @torch.no_grad()
    def __call__(self, files: Sequence[Path]) -> Iterator[tuple[Path, Tensor]]:
        """Yield each file with its probabilities (L,), in order; raise DataError for an unreadable image."""
        for start in range(0, len(files), BATCH):
            chunk = files[start : start + BATCH]
            images = torch.from_numpy(np.stack([self._pixels(file) for file in chunk])).permute(0, 3, 1, 2)
            images = images.to(self.device)
            probabilities = self.model(self.model.preprocess(images)).logits.float().sigmoid().cpu()
            yield from zip(chunk, probabilities, strict=True)


def run(options: argparse.Namespace) -> int:
    """Print the classes of each image, most probable first; or every class as JSON lines or CSV."""
    if options.top < 1:
        raise ConfigError(f"--top must be at least 1, got {options.top}")
    files = image_files(options.images)
    predictor = Predictor(Path(options.checkpoint), options.device, options.weights)
    names = predictor.class_names
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", *names])
        writer.writerows([str(file), *(f"{p:.6f}" for p in row.tolist())] for file, row in predictor(files))
    elif options.json:
        for file, row in predictor(files):
            probabilities = {name: round(p, 6) for name, p in zip(names, row.tolist(), strict=True)}
            sys.stdout.write(json.dumps({"image": str(file), "probabilities": probabilities}) + "\n")
    else:
        table = Table("image", *(f"{place + 1}." for place in range(min(options.top, len(names)))))
        for file, row in predictor(files):
            best = row.topk(min(options.top, len(names)))
            cells = (f"{names[i]} {p:.3f}" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True))
            table.add_row(str(file), *cells)
        Console(highlight=False).print(table)
    return DONE


def image_files(arguments: Sequence[str]) -> list[Path]:
    """Return the image files named, and those inside folders named; raise DataError for what is not there."""
    files: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            inside = sorted(p for p in argument.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{argument} holds no image ({', '.join(sorted(SUFFIXES))})")
            files += inside
        elif argument.is_file():
            files.append(argument)
        else:
            raise DataError(f"{argument} is neither an image file nor a folder")
    return files
