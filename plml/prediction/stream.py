"""Scores of many image files in their order: decoding runs ahead of the network, and never far.

Pillow decodes and resizes without the interpreter lock, so threads keep the processors busy while the network
computes. What is in memory at any time is a few batches, whatever the number of files.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plml.data.cache import available_cpus
from plml.errors import DataError
from plml.predictor import Predictor

AHEAD = 3  # batches that are decoded, or being decoded, while one is scored


class Scored(NamedTuple):
    """One file: its logits, or why it could not be read."""

    file: Path
    logits: Tensor | None  # (L,) float32, on the CPU
    error: str = ""


def score_files(predictor: Predictor, files: Iterable[Path]) -> Iterator[Scored]:
    """Yield every file with its logits, in order; of an unreadable image, with the reason.

    Args:
        predictor: the network; ``predictor.batch_size`` images are scored in one pass.
        files: image files; taken one after the other, as they are needed.
    """
    size = predictor.batch_size
    waiting: deque[tuple[Path, Future[NDArray[np.uint8]]]] = deque()
    rest = iter(files)
    pool = ThreadPoolExecutor(max_workers=available_cpus())
    try:
        while True:
            for file in islice(rest, (AHEAD + 1) * size - len(waiting)):
                waiting.append((file, pool.submit(predictor.pixels, file)))
            if not waiting:
                return
            yield from _score(predictor, [waiting.popleft() for _ in range(min(size, len(waiting)))])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _score(predictor: Predictor, batch: list[tuple[Path, "Future[NDArray[np.uint8]]"]]) -> Iterator[Scored]:
    images: list[NDArray[np.uint8]] = []
    reasons: list[str | None] = []
    for _, decoded in batch:
        try:
            images.append(decoded.result())
            reasons.append(None)
        except DataError as error:
            reasons.append(str(error))
    rows = iter(predictor.logits(images))
    for (file, _), reason in zip(batch, reasons, strict=True):
        yield Scored(file, next(rows)) if reason is None else Scored(file, None, reason)
