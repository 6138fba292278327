"""Finished runs as they lie in their folders: validation scores of every epoch, and which test figures are known."""

import hashlib
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plml.config import TrainConfig, load_config
from plml.errors import PlmlError

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
        with np.load(self.folder / "scores" / "labels.npz", allow_pickle=False) as arrays:
            for name in ("truth", "observed"):
                digest.update(str(arrays[name].shape).encode() + arrays[name].tobytes())
        return digest.hexdigest()

    def labels(self) -> tuple[Tensor, Tensor]:
        """Return truth and observed labels (N, L) of the validation split."""
        with np.load(self.folder / "scores" / "labels.npz", allow_pickle=False) as arrays:
            return torch.from_numpy(arrays["truth"]), torch.from_numpy(arrays["observed"])

    @property
    def expected_positives(self) -> float | None:
        """The declared k, None if nobody declared one, or the run is older than the note of it."""
        if self.config.data.expected_positives is not None:
            return self.config.data.expected_positives
        with np.load(self.folder / "scores" / "labels.npz", allow_pickle=False) as arrays:
            noted = float(arrays["expected_positives"]) if "expected_positives" in arrays else math.nan
        return None if math.isnan(noted) else noted

    def logits(self) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """Yield a few epochs at a time and their validation logits (K, N, L)."""
        size = max(1, STACK_BYTES // max(1, scores_file(self.folder, self.epochs[0]).stat().st_size))
        for first in range(0, len(self.epochs), size):
            some = self.epochs[first : first + size]
            yield (
                some,
                torch.from_numpy(np.stack([np.load(scores_file(self.folder, epoch)) for epoch in some])),
            )


def scores_file(folder: Path, epoch: int) -> Path:
    """Return where a run keeps the validation scores of an epoch."""
    return folder / "scores" / f"val_{epoch:04d}.npy"


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
        test_map = _test_by_epoch(folder / "metrics.jsonl") | {result["best_epoch"]: result["metrics"][TEST_FIGURE]}
        first = config.linear_init.epochs if config.linear_init else 0
        epochs = [int(file.stem.removeprefix("val_")) for file in sorted((folder / "scores").glob("val_*.npy"))]
        epochs = [epoch for epoch in epochs if epoch >= first]
        run = StoredRun(folder, config, result["data_digest"], result["best_epoch"], tuple(epochs), test_map)
        if not run.labels_digest or not epochs:
            return "no validation scores are stored"
    except PlmlError as error:
        return f"written by a version with other keys: {str(error).splitlines()[0]}"
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return f"damaged: {error}"
    return run


def _test_by_epoch(file: Path) -> dict[int, float]:
    found: dict[int, float] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            report: dict[str, Any] = json.loads(line)
        except ValueError:
            break  # torn by a kill; what follows was never told
        if EPOCH_TEST_FIGURE in report["metrics"]:
            found[report["epoch"]] = report["metrics"][EPOCH_TEST_FIGURE]
    return found
