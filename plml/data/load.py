"""From a configuration to a :class:`~plml.data.bundle.Bundle`: read, draw the label setting, split, decode once."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.data.cache import default_cache_dir
from plml.data.digest import labels_digest
from plml.data.features import part_features
from plml.data.inputs import part_pixels, part_sources, parts, read_source
from plml.data.observed import observe_parts
from plml.data.source import Source
from plml.data.source_images import SourceImages
from plml.data.split import Rows, split_rows, subsample_rows
from plml.labels import as_tensor


def load_bundle(
    config: TrainConfig, *, cache_dir: Path | None = None, device: torch.device | None = None, progress: bool = False
) -> Bundle:
    """Load what ``config`` trains and evaluates on.

    The label setting is drawn on each official part with a fresh random stream, before validation is carved
    from train (Cole et al., section 4): a carved validation split shares the training part's draw, one that the
    data set brings has its own. Mode ``linear`` gets features: those that the data set brings, or else
    those of ``config.model``; the other modes get images.

    Args:
        config: the run.
        cache_dir: where decoded images and features are kept; default: :func:`default_cache_dir`.
        device: where features are extracted; default: the CPU.
        progress: show progress bars if the terminal can.

    Raises:
        ConfigError: a split would be empty, or data set and mode do not fit.
        DataError: a file is missing, unreadable or inconsistent; it is named.
    """
    data = config.data
    source = read_source(data)
    observed = observe_parts(source, data)
    arrays = _arrays(source, config, cache_dir or default_cache_dir(), device, progress)
    sources = _sources(source, config, cache_dir or default_cache_dir(), progress)
    train_rows, val_rows = _rows(source, config)
    val_part = "train" if source.val is None else "val"
    official = dict(parts(source))

    def split(name: str, rows: Rows, sources: SourceImages | None = None) -> Split:
        part = official[name]
        return Split(
            ids=[part.ids[row] for row in rows],
            rows=rows,
            array=arrays[name],
            truth=as_tensor(part.truth[rows]),
            observed=as_tensor(observed[name][rows]),
            sources=sources,
        )

    return Bundle(
        name=source.name,
        class_names=tuple(source.class_names),
        train=split("train", train_rows, sources),
        val=split(val_part, val_rows),
        test=split("test", np.arange(len(source.test), dtype=np.int64)),
        expected_positives=data.expected_positives or source.expected_positives,
        flip=source.flip if data.flip is None else data.flip,
        digest=labels_digest(source.digest, observed.values()),
        image_size=_image_size(source, config),
    )


def cache_inputs(
    config: TrainConfig, *, cache_dir: Path | None = None, device: torch.device | None = None, progress: bool = False
) -> None:
    """Decode images and extract features as far as ``config`` needs and the cache lacks them; draw no labels."""
    source = read_source(config.data)
    folder = cache_dir or default_cache_dir()
    _arrays(source, config, folder, device, progress)
    _sources(source, config, folder, progress)


def _sources(source: Source, config: TrainConfig, cache_dir: Path, progress: bool) -> SourceImages | None:
    """Images at source scale, if training cuts crops out of them."""
    if config.mode == "linear" or config.data.crop_scale is None:
        return None
    return part_sources(source, source.train, config.data, cache_dir=cache_dir, progress=progress)


def _arrays(
    source: Source, config: TrainConfig, cache_dir: Path, device: torch.device | None, progress: bool
) -> dict[str, NDArray[np.uint8] | NDArray[np.float32]]:
    arrays: dict[str, NDArray[np.uint8] | NDArray[np.float32]] = {}
    for name, part in parts(source):
        if config.mode == "linear":
            arrays[name] = part_features(
                source, part, config, cache_dir=cache_dir, device=device, progress=progress, label=name
            )
        else:
            arrays[name] = part_pixels(source, part, config.data, cache_dir=cache_dir, progress=progress).array
    return arrays


def _image_size(source: Source, config: TrainConfig) -> int | None:
    """Side of the images that are trained on, or that the features were extracted from; None if nobody knows."""
    part = source.train
    ready_made = config.mode == "linear" and part.features is not None
    return (
        None
        if ready_made or (part.paths is None and part.images is None)
        else config.data.image_size or source.image_size
    )


def _rows(source: Source, config: TrainConfig) -> tuple[Rows, Rows]:
    data = config.data
    if source.val is None:
        train, val = split_rows(len(source.train), data.val_fraction, data.split_seed)
    else:
        train, val = (np.arange(len(part), dtype=np.int64) for part in (source.train, source.val))
    return subsample_rows(
        train, val, train_fraction=data.subsample_train, val_fraction=data.subsample_val, seed=data.subsample_seed
    )
