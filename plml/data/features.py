"""Features of a frozen backbone, extracted once and kept: what mode ``linear`` trains the head on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plml.config import ModelConfig, TrainConfig
from plml.data.cache import cache_key, cached_array, default_cache_dir
from plml.data.inputs import Pixels, describe_part, part_pixels, parts, read_source
from plml.data.source import Part, Source
from plml.heartbeat import beat
from plml.models import build_model
from plml.models.backbones import BACKBONES
from plml.models.weights import weights_digest

BATCH = 32  # images a forward pass; it does not change a feature beyond rounding


def extract_features(
    config: TrainConfig,
    *,
    cache_dir: Path | None = None,
    device: torch.device | None = None,
    progress: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Return ``{official part: features (N, D)}`` of ``config.data`` under ``config.model``, memory-mapped.

    The backbone runs in evaluation mode, without augmentation, with global average pooling. What was
    extracted before is not computed again.

    Args:
        config: data set, image size, backbone and weights; without weights the backbone is initialised
            under ``config.seed``.
        cache_dir: where decoded images and features are kept; default: :func:`default_cache_dir`.
        device: where the backbone runs; default: the CPU.
        progress: show progress bars if the terminal can.
    """
    source = read_source(config.data)
    folder = cache_dir or default_cache_dir()
    return {
        name: part_features(source, part, config, cache_dir=folder, device=device, progress=progress, label=name)
        for name, part in parts(source)
    }


def part_features(
    source: Source,
    part: Part,
    config: TrainConfig,
    *,
    cache_dir: Path,
    device: torch.device | None = None,
    progress: bool = False,
    label: str = "",
) -> NDArray[np.float32]:
    """Return the features (N, D) that come with ``part``, or those of ``config.model`` on its images."""
    if part.features is not None:
        return part.features
    pixels = part_pixels(source, part, config.data, cache_dir=cache_dir, progress=progress)
    stamp = weights_digest(config.model)
    facts = {
        "pixels": pixels.key,
        "shape": list(pixels.array.shape),
        "backbone": config.model.backbone,
        "weights": stamp or f"initialised with seed {config.seed}",
    }
    if config.model.normalization != "auto":
        facts["normalization"] = config.model.normalization
    extractor = _Extractor(config.model, pixels, config.seed, device or torch.device("cpu"))
    shape = (len(part), BACKBONES[config.model.backbone].feature_dim)
    array: NDArray[np.float32] = cached_array(
        cache_dir / "features" / cache_key(facts),
        shape,
        np.dtype(np.float32),
        extractor.fill,
        label=f"Extracting {label} features",
        about={
            **describe_part(source, part),
            "images": len(part),
            "image_size": pixels.array.shape[1],
            "backbone": config.model.backbone,
            "weights": config.model.weights or f"seed {config.seed}",
        },
        progress=progress,
    )
    return array


class _Extractor:
    """Fills rows of a feature array; builds the network when the first row is missing, and not before."""

    def __init__(self, model: ModelConfig, pixels: Pixels, seed: int, device: torch.device) -> None:
        self._model, self._pixels, self._seed = model, pixels, seed
        self._device = device
        self._network: torch.nn.Module | None = None

    def _build(self) -> torch.nn.Module:
        _, height, width, channels = self._pixels.array.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)  # the stream in which a trainer seeded alike builds the same backbone
            network = build_model(self._model, num_classes=1, input_shape=(channels, height, width))
        # Decoded images lie channels last; kernels that take them so are about 1.6 times as fast on a CPU.
        return network.to(self._device).to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def fill(self, array: NDArray[Any], start: int, stop: int) -> None:
        if self._network is None:
            self._network = self._build()
        for low in range(start, stop, BATCH):
            beat()
            high = min(low + BATCH, stop)
            batch = torch.from_numpy(np.array(self._pixels.array[low:high])).permute(0, 3, 1, 2)  # (B, C, H, W)
            array[low:high] = self._network(batch.to(self._device)).features.float().cpu().numpy()
