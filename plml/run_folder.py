"""The folder of one run: which file says what, and in which order files are written so that none ever lies.

``last.pt`` is the record: an epoch counts as done once it is in there. What epochs leave behind (scores, matrices, the
best weights) is kept in memory until the record that names them is due, and written before it; :mod:`plml.run_record`
says how both survive. ``metrics.jsonl`` has every epoch at once, see :mod:`plml.report_log`.

Of the other files, those that the record or the data can give back are written again when the run is opened and they
are missing or damaged: ``config.yaml``, ``metrics.jsonl``, ``scores/labels.npz``, ``result.json``. Scores carry a
digest; whoever reads them with :func:`plml.checkpoint.load_array` is told of damage.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.checkpoint import load_arrays, own_copy, save_checkpoint, write_array, write_arrays, write_text
from plml.config import TrainConfig, dump_config, load_config
from plml.data.bundle import Bundle, Split
from plml.errors import CheckpointError, ConfigError, DamagedError
from plml.report import EpochReport
from plml.report_log import ReportLog
from plml.run_record import RunRecord, set_aside


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
        self._result: dict[str, Any] | None = None
        self._record = RunRecord(path)
        self._reports = ReportLog(path / "metrics.jsonl")

    def open(self, device: torch.device) -> dict[str, Any] | None:
        """Return the record of an earlier run, or begin a folder and return None.

        Raises:
            CheckpointError: the folder holds another configuration's run, or other data.
        """
        for begun in self.path.rglob(".*.tmp"):  # of a process that was killed while it wrote
            begun.unlink()
        record = self._record.open(device, self._check)
        same_config, same_labels = self._has_config(), self._has_labels()
        if record is None and not (same_config and same_labels) and self._reports.file.exists():
            set_aside(self._reports.file)  # it was told of something else
        if record is None or not same_config:
            write_text(self.path / "config.yaml", dump_config(self.config))
        if record is None or not same_labels:
            self._write_labels()
        if record is None:
            self._reports.open()
            return None
        self._result = record.get("result")
        if self._result is not None and not self._has_result():
            self._write_result()
        self._reports.open([EpochReport(**report) for report in record["history"]])
        return record

    def _check(self, record: Mapping[str, Any] | None) -> None:
        """Refuse a record of another run; where none can be read, ``config.yaml`` says whose they were."""
        if record is None:
            try:
                fingerprint = load_config(self.path / "config.yaml").fingerprint
            except ConfigError:
                return
            told = [("configuration", fingerprint, self.config.fingerprint)]
        else:
            told = [
                ("configuration", record["fingerprint"], self.config.fingerprint),
                ("data set or label setting", record["data"]["digest"], self.bundle.digest),
            ]
        for what, found, expected in told:
            if found != expected:
                raise CheckpointError(
                    f"{self.path} holds a run of another {what} ({found[:12]}, not {expected[:12]}); "
                    "choose another folder, or delete this one"
                )

    def _has_config(self) -> bool:
        try:
            return (self.path / "config.yaml").read_text(encoding="utf-8") == dump_config(self.config)
        except (FileNotFoundError, ValueError):
            return False

    def _labels(self) -> dict[str, NDArray[Any]]:
        declared = self.bundle.expected_positives
        return {
            "truth": self.bundle.val.truth.numpy(),
            "observed": self.bundle.val.observed.numpy(),
            "expected_positives": np.array(math.nan if declared is None else declared),
        }

    def _has_labels(self) -> bool:
        try:
            found = load_arrays(self.path / "scores" / "labels.npz")
        except DamagedError:
            return False
        expected = self._labels()
        return expected.keys() == found.keys() and all(
            np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f") for name, array in expected.items()
        )

    def _write_labels(self) -> None:
        write_arrays(self.path / "scores" / "labels.npz", **self._labels())

    def _has_result(self) -> bool:
        try:
            return bool(json.loads((self.path / "result.json").read_bytes()) == self._result)
        except (FileNotFoundError, ValueError):
            return False

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
        identity, reports = self._identity(stage), [asdict(report) for report in history]
        best = None if self._best is None else {**identity, **self._best}
        self._record.write({**identity, **content, "history": reports, "result": self._result}, best)
        self._best = None

    def tell(self, report: EpochReport) -> EpochReport:
        """Write the report of a completed epoch; return it with the clock of the first time it was completed."""
        return self._reports.tell(report)

    def read_best(self) -> dict[str, Any]:
        """Return the chosen epoch's weights, whether or not they are on disk yet."""
        return self._record.read_best() if self._best is None else self._best

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
        self._result = {**result, "fingerprint": self.config.fingerprint, "data_digest": self.bundle.digest}
        self._write_result()

    def _write_result(self) -> None:
        write_text(self.path / "result.json", json.dumps(self._result, indent=1) + "\n")

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
