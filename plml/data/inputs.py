"""From a configuration to the inputs of each official part, before labels are drawn or rows are split."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plml.config import DataConfig
from plml.data.image_cache import cached_pixels, cached_sources
from plml.data.source import DATASETS, Part, Source
from plml.data.source_images import SourceImages
from plml.errors import ConfigError
from plml.user_path import user_path


@dataclass(frozen=True)
class Pixels:
    """Decoded images of one part.

    Attributes:
        array: (N, H, W, C) uint8, possibly memory-mapped.
        key: names the content; features extracted from it are kept under it.
    """

    array: NDArray[np.uint8]
    key: str


def read_source(data: DataConfig) -> Source:
    """Find and check the data set that ``data`` names; raise DataError naming what is missing."""
    return DATASETS[data.name](**data.options).read(user_path(data.root) if data.root else None)


def parts(source: Source) -> Iterator[tuple[str, Part]]:
    """Yield ``(name, part)`` for the official parts that ``source`` has, in the order train, val, test."""
    yield "train", source.train
    if source.val is not None:
        yield "val", source.val
    yield "test", source.test


def part_pixels(source: Source, part: Part, data: DataConfig, *, cache_dir: Path, progress: bool = False) -> Pixels:
    """Return the decoded images of ``part``; raise ConfigError if it has features only or images of one fixed size."""
    size = data.image_size or source.image_size
    if part.paths is not None:
        about = describe_part(source, part)
        return Pixels(*cached_pixels(list(part.paths), size, cache_dir=cache_dir, about=about, progress=progress))
    if part.images is None:
        raise ConfigError(f"mode: data set '{source.name}' brings features and no images, so only mode: linear can run")
    if part.images.shape[1:3] != (size, size):
        raise ConfigError(
            f"data.image_size: the images of data set '{source.name}' are {part.images.shape[1]} pixels wide and are "
            f"not resized, got {size}"
        )
    return Pixels(part.images, sha256(np.ascontiguousarray(part.images).data).hexdigest()[:24])


def part_sources(
    source: Source, part: Part, data: DataConfig, *, cache_dir: Path, progress: bool = False
) -> SourceImages | None:
    """Return the images of ``part`` at source scale, for crops of ``data.image_size``; None if they are no files."""
    if part.paths is None:
        return None
    size = data.image_size or source.image_size
    about = describe_part(source, part)
    return cached_sources(list(part.paths), size, cache_dir=cache_dir, about=about, progress=progress)


def describe_part(source: Source, part: Part) -> dict[str, str]:
    """Return the names of data set and part, for the description of a cached array."""
    return {"data": source.name, "part": next(name for name, other in parts(source) if other is part)}
