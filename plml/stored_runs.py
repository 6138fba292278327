"""Finished runs as they lie in their folders: validation scores of every epoch, and which test figures are known."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.checkpoint import load_array, load_arrays
from plml.config import TrainConfig, load_config
from plml.errors import DamagedError, DataError, PlmlError
from plml.report_log import read_reports

TEST_FIGURE, EPOCH_TEST_FIGURE = "test/mAP", "test_by_epoch/mAP"
STACK_BYTES = 64 * 2**20  # of scores read at once


@dataclass(frozen=True)
class StoredRun:
    """One finished run.

    Attributes:
        folder: its folder.
        config: its configuration.
        data_digest: names data set and label setting.
        best_epoch: the epoch that the run itself chose.
        epochs: those that could have been chosen (of the last stage) and whose validation scores are stored.
        test_map: epoch -> test mAP in percent, where it is known.
    """

    folder: Path
    config: TrainConfig
    data_digest: str
    best_epoch: int
    epochs: tuple[int, ...]
    test_map: Mapping[int, float]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.config.method["name"])

    @property
    def knows_every_epoch(self) -> bool:
        """Whether the test mAP of every epoch is known."""
        return all(epoch in self.test_map for epoch in self.epochs)

    @cached_property
    def labels_digest(self) -> str:
        """Names the validation labels, observed and true."""
        digest = hashlib.sha256()
        arrays = self._label_arrays
        for name in ("truth", "observed"):
            digest.update(str(arrays[name].shape).encode() + arrays[name].tobytes())
        return digest.hexdigest()

    def labels(self) -> tuple[Tensor, Tensor]:
        """Return truth and observed labels (N, L) of the validation split."""
        arrays = self._label_arrays
        return torch.from_numpy(arrays["truth"]), torch.from_numpy(arrays["observed"])

    @property
    def _label_arrays(self) -> dict[str, NDArray[Any]]:
        return load_arrays(self.folder / "scores" / "labels.npz")

    @property
    def expected_positives(self) -> float | None:
        """The declared k, None if nobody declared one, or the run is older than the note of it."""
        if self.config.data.expected_positives is not None:
            return self.config.data.expected_positives
        noted = float(self._label_arrays.get("expected_positives", np.array(math.nan)))
        return None if math.isnan(noted) else noted

    def logits(self) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Yield a few epochs at a time and their validation logits (K, N, L)."""
        size = max(1, STACK_BYTES // max(1, scores_file(self.folder, self.epochs[0]).stat().st_size))
        for first in range(0, len(self.epochs), size):
            some = self.epochs[first : first + size]
            yield (
                some,
                torch.from_numpy(np.stack([read_scores(scores_file(self.folder, epoch)) for epoch in some])),
            )


def scores_file(folder: Path, epoch: int) -> Path:
    """Return where a run keeps the validation scores of an epoch."""
    return folder / "scores" / f"val_{epoch:04d}.npy"


def read_scores(file: Path) -> NDArray[Any]:
    """Read scores or labels that a run kept.

    Raises:
        DamagedError: the file is missing or damaged.
    """
    try:
        return load_array(file)
    except DamagedError as error:
        raise DamagedError(
            f"{error}; a run writes its scores only while it trains: delete its folder {file.parent.parent} and train "
            "it again (plml train --fresh), or leave it out"
        ) from error


def read_test_scores(folder: Path) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return a run's test logits (N, L) and labels (N, L), or None if it kept none.

    Raises:
        DataError: the two do not belong together.
        DamagedError: one of them is damaged.
    """
    scores_path, labels_path = folder / "scores" / "test.npy", folder / "scores" / "test_labels.npy"
    if not (scores_path.is_file() and labels_path.is_file()):
        return None
    scores, labels = read_scores(scores_path), read_scores(labels_path)
    if scores.shape != labels.shape:
        raise DataError(f"{folder}: test.npy is {scores.shape} and test_labels.npy is {labels.shape}, not alike")
    return scores, labels


def find_run_folders(paths: Iterable[Path]) -> list[Path]:
    """Return the folders of runs, finished or not, at and below ``paths``, sorted, each once."""
    found = {
        labels.parent.parent.resolve() for path in paths for labels in sorted(Path(path).rglob("scores/labels.npz"))
    }
    return sorted(found)


def read_stored_run(folder: Path) -> StoredRun | str:
    """Return the run in ``folder``, or in words why there is nothing to compare."""
    result_file = folder / "result.json"
    if not result_file.is_file():
        return "not trained to its end, so its test mAP is unknown"
    try:
        result = json.loads(result_file.read_text(encoding="utf-8"))
        config = load_config(folder / "config.yaml")
        told = {report.epoch: report.metrics for report in read_reports(folder)}
        by_epoch = {
            epoch: metrics[EPOCH_TEST_FIGURE] for epoch, metrics in told.items() if EPOCH_TEST_FIGURE in metrics
        }
        test_map = by_epoch | {result["best_epoch"]: result["metrics"][TEST_FIGURE]}
        first = config.linear_init.epochs if config.linear_init else 0
        epochs = [int(file.stem.removeprefix("val_")) for file in sorted((folder / "scores").glob("val_*.npy"))]
        epochs = [epoch for epoch in epochs if epoch >= first]
        run = StoredRun(folder, config, result["data_digest"], result["best_epoch"], tuple(epochs), test_map)
        if not run.labels_digest or not epochs:
            return "no validation scores are stored"
    except DamagedError as error:
        return f"{error}; opening the run again, by the command that trained it, writes it anew"
    except PlmlError as error:
        return f"written by a version with other keys: {str(error).splitlines()[0]}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"damaged: {error}; opening the run again, by the command that trained it, writes its files anew"
    return run
