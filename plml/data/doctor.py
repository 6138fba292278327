"""What `plml doctor` says of a data set: counts, digests, and files that cannot be used."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plml.data.cache import available_cpus
from plml.data.inputs import parts
from plml.data.pixels import decode
from plml.data.source import Part, Source
from plml.errors import DataError
from plml.labels import POSITIVE, UNKNOWN

_DEEP_SIZE = 8  # side to which a picture is decoded when only its readability is of interest


@dataclass(frozen=True)
class PartReport:
    """Figures of one official part.

    Attributes:
        name: train, val or test.
        examples: N.
        labels_per_image: mean number of positive labels.
        unlabelled: images without a positive label.
        unknown: true labels that nobody verified.
        empty_classes: classes without a positive example.
        inputs: what the examples are, in words.
        problems: what cannot be used, file by file.
    """

    name: str
    examples: int
    labels_per_image: float
    unlabelled: int
    unknown: int
    empty_classes: tuple[str, ...]
    inputs: str
    problems: tuple[str, ...] = ()


def inspect_source(source: Source, *, deep: bool = False) -> list[PartReport]:
    """Count examples and labels of every part; with ``deep`` also decode every image and check every feature."""
    return [_inspect(name, part, source.class_names, deep) for name, part in parts(source)]


def _inspect(name: str, part: Part, class_names: Sequence[str], deep: bool) -> PartReport:
    positives = part.truth == POSITIVE  # (N, L)
    return PartReport(
        name=name,
        examples=len(part),
        labels_per_image=float(positives.sum(axis=1).mean()),
        unlabelled=int((~positives.any(axis=1)).sum()),
        unknown=int((part.truth == UNKNOWN).sum()),
        empty_classes=tuple(n for n, some in zip(class_names, positives.any(axis=0), strict=True) if not some),
        inputs=_inputs(part),
        problems=tuple(_problems(part)) if deep else (),
    )


def _inputs(part: Part) -> str:
    kinds = []
    if part.paths is not None:
        kinds.append("image files")
    if part.images is not None:
        kinds.append("images {}x{}x{}".format(*part.images.shape[1:]))
    if part.features is not None:
        kinds.append(f"stored features of {part.features.shape[1]} numbers")
    return ", ".join(kinds)


def _problems(part: Part) -> Iterator[str]:
    """Yield what is wrong with the part's files, in the order of its examples."""
    if part.paths is not None:
        with ThreadPoolExecutor(max_workers=available_cpus()) as pool:
            yield from filter(None, pool.map(_problem, part.paths))
    if part.features is not None:
        broken = np.flatnonzero(~np.isfinite(part.features).all(axis=1))
        yield from (f"stored features of '{part.ids[int(row)]}' are not finite" for row in broken)


def _problem(path: Path) -> str | None:
    try:
        decode(path, _DEEP_SIZE)
    except DataError as error:
        return str(error)
    return None
