"""The folder of one run: which file says what, and in which order files are written so that none ever lies.

``last.pt`` is the record: an epoch counts as done once it is in there. What epochs leave behind (scores, matrices, the
best weights) is kept in memory until the record that names them is due, and written before it. ``best.pt`` takes the
place of the former best only after the record names its epoch; until then it waits as ``best.pt.next``.
``metrics.jsonl`` has every epoch at once, see :mod:`plml.report_log`.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plml.checkpoint import (
    load_checkpoint,
    own_copy,
    save_checkpoint,
    write_array,
    write_arrays,
    write_text,
)
from plml.config import TrainConfig, dump_config
from plml.data.bundle import Bundle, Split
from plml.errors import CheckpointError
from plml.report import EpochReport
from plml.report_log import ReportLog


class RunFolder:
    """Files of one run of ``config`` on ``bundle``.

    Args:
        path: the folder; made when the first file is written.
        config: the run's configuration.
        bundle: the data of its last stage.
    """

    def __init__(self, path: Path, config: TrainConfig, bundle: Bundle) -> None:
        self.path, self.config, self.bundle = path, config, bundle
        self._scores: dict[int, Tensor] = {}
        self._matrices: dict[tuple[int, str], Tensor] = {}
        self._best: dict[str, Any] | None = None
        self._reports = ReportLog(path / "metrics.jsonl")

    def open(self, device: torch.device) -> dict[str, Any] | None:
        """Return the record of an earlier run, or begin a folder and return None.

        Raises:
            CheckpointError: the folder holds another configuration's run, or other data, or is damaged.
        """
        if not (self.path / "last.pt").exists():
            config, truth, observed = dump_config(self.config), self.bundle.val.truth, self.bundle.val.observed
            labels = self.path / "scores" / "labels.npz"
            if not self._was_begun(config, labels):  # what lies here was told of something else
                (self.path / "metrics.jsonl").unlink(missing_ok=True)
            write_text(self.path / "config.yaml", config)
            declared = self.bundle.expected_positives
            write_arrays(
                labels,
                truth=truth.numpy(),
                observed=observed.numpy(),
                expected_positives=np.array(math.nan if declared is None else declared),
            )
            self._reports.open()
            return None
        record = load_checkpoint(self.path / "last.pt", device)
        for what, found, expected in (
            ("configuration", record["fingerprint"], self.config.fingerprint),
            ("data set or label setting", record["data"]["digest"], self.bundle.digest),
        ):
            if found != expected:
                raise CheckpointError(
                    f"{self.path} holds a run of another {what} ({found[:12]}, not {expected[:12]}); "
                    "choose another folder, or delete this one"
                )
        pending = self.path / "best.pt.next"
        if pending.exists() and load_checkpoint(pending)["epoch"] != record["stop_rule"]["best_epoch"]:
            pending.unlink()  # from an epoch that was never recorded; it will be trained again
        self._adopt_best()
        self._reports.open([EpochReport(**report) for report in record["history"]])
        return record

    def _was_begun(self, config: str, labels: Path) -> bool:
        """Whether a run that was killed before its first record was this one."""
        try:
            found = (self.path / "config.yaml").read_text(encoding="utf-8")
            with np.load(labels, allow_pickle=False) as arrays:
                same = all(
                    np.array_equal(arrays[name], getattr(self.bundle.val, name).numpy())
                    for name in ("truth", "observed")
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False
        return found == config and same

    def keep_scores(self, epoch: int, logits: Tensor) -> None:
        """Keep the validation logits (N, L) of an epoch, so that any criterion can be applied to it later."""
        self._scores[epoch] = logits

    def keep_matrix(self, epoch: int, name: str, matrix: Tensor) -> None:
        """Keep a class by class matrix (L, L) of an epoch, such as a learned label graph, and what the classes are."""
        self._matrices[epoch, name] = matrix.detach().clone()

    def keep_best(self, content: Mapping[str, Any], *, copy: bool = True) -> None:
        """Keep the chosen epoch's weights; without ``copy`` the record must be written before they change."""
        self._best = own_copy(content) if copy else dict(content)

    def write_epoch(self, stage: Bundle, epoch: int, content: Mapping[str, Any]) -> None:
        """Write a checkpoint of one epoch, ``epochs/0003.pt``, in the form of ``best.pt``."""
        save_checkpoint(self.path / "epochs" / f"{epoch:04d}.pt", {**self._identity(stage), **content})

    def write_last(self, stage: Bundle, content: Mapping[str, Any], history: Sequence[EpochReport]) -> None:
        """Write what was kept, then the record: all that the run needs to go on."""
        self.write_kept()
        if self._best is not None:
            save_checkpoint(self.path / "best.pt.next", {**self._identity(stage), **self._best})
        reports = [asdict(report) for report in history]
        save_checkpoint(self.path / "last.pt", {**self._identity(stage), **content, "history": reports})
        self._best = None
        self._adopt_best()

    def tell(self, report: EpochReport) -> EpochReport:
        """Write the report of a completed epoch; return it with the clock of the first time it was completed."""
        return self._reports.tell(report)

    def read_best(self) -> dict[str, Any]:
        """Return the chosen epoch's weights, whether or not they are on disk yet."""
        if self._best is not None:
            return self._best
        pending = self.path / "best.pt.next"
        return load_checkpoint(pending if pending.exists() else self.path / "best.pt")

    def write_kept(self) -> None:
        """Write the scores and matrices that were kept; all there is of a run whose record cannot go on."""
        for epoch, logits in self._scores.items():
            # Not synced one by one: a process that dies leaves them whole, and only a power cut could lose the last.
            write_array(self.path / "scores" / f"val_{epoch:04d}.npy", logits.cpu().numpy(), sync=False)
        names = self.path / "matrices" / "class_names.json"
        if self._matrices and not names.exists():
            write_text(names, json.dumps(list(self.bundle.class_names)) + "\n")
        for (epoch, name), matrix in self._matrices.items():
            write_array(self.path / "matrices" / f"{name}_{epoch:04d}.npy", matrix.cpu().numpy(), sync=False)
        self._scores, self._matrices = {}, {}

    def write_result(self, test: Split, logits: Tensor, result: Mapping[str, Any]) -> None:
        """Write the test logits (N, L) of the chosen epoch and ``result.json``."""
        write_array(self.path / "scores" / "test.npy", logits.cpu().numpy())
        write_array(self.path / "scores" / "test_labels.npy", test.truth.numpy())
        stamp = {"fingerprint": self.config.fingerprint, "data_digest": self.bundle.digest}
        write_text(self.path / "result.json", json.dumps({**result, **stamp}, indent=1) + "\n")

    def _adopt_best(self) -> None:
        pending = self.path / "best.pt.next"
        if pending.exists():
            pending.replace(self.path / "best.pt")

    def _identity(self, stage: Bundle) -> dict[str, Any]:
        """What a checkpoint says of itself; ``stage`` is the data that its network takes."""
        return {
            "config": json.dumps(self.config.tree()),
            "fingerprint": self.config.fingerprint,
            "data": {"name": stage.name, "digest": stage.digest},
            "class_names": list(stage.class_names),
            "input_shape": list(stage.train.array.shape[1:]),
            "image_size": stage.image_size,
        }
