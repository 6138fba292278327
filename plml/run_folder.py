"""The folder of one run: which file says what, and in which order files are written so that none ever lies.

``last.pt`` is the record: an epoch counts as done once it is in there. What epochs leave behind (scores, matrices, the
best weights) is kept in memory until the record that names them is due, and written before it. ``best.pt`` takes the
place of the former best only after the record names its epoch; until then it waits as ``best.pt.next``. Everything
else (``metrics.jsonl``, ``result.json``) follows from those two and is written anew if need be.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.checkpoint import (
    load_checkpoint,
    own_copy,
    save_checkpoint,
    write_array,
    write_arrays,
    write_json_lines,
    write_text,
)
from plml.config import TrainConfig, dump_config
from plml.data.bundle import Bundle, Split
from plml.errors import CheckpointError
from plml.report import EpochReport


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

    def open(self, device: torch.device) -> dict[str, Any] | None:
        """Return the record of an earlier run, or begin a folder and return None.

        Raises:
            CheckpointError: the folder holds another configuration's run, or other data, or is damaged.
        """
        if not (self.path / "last.pt").exists():
            write_text(self.path / "config.yaml", dump_config(self.config))
            truth, observed = self.bundle.val.truth.numpy(), self.bundle.val.observed.numpy()
            write_arrays(self.path / "scores" / "labels.npz", truth=truth, observed=observed)
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
        self._write_metrics([EpochReport(**report) for report in record["history"]])
        return record

    def keep_scores(self, epoch: int, logits: Tensor) -> None:
        """Keep the validation logits (N, L) of an epoch, so that any criterion can be applied to it later."""
        self._scores[epoch] = logits

    def keep_matrix(self, epoch: int, name: str, matrix: Tensor) -> None:
        """Keep a class by class matrix (L, L) of an epoch, such as a learned label graph, and what the classes are."""
        self._matrices[epoch, name] = matrix.detach().clone()

    def keep_best(self, content: Mapping[str, Any], *, copy: bool = True) -> None:
        """Keep the chosen epoch's weights; without ``copy`` the record must be written before they change."""
        self._best = own_copy(content) if copy else dict(content)

    def write_last(self, stage: Bundle, content: Mapping[str, Any], history: Sequence[EpochReport]) -> None:
        """Write what was kept, then the record: all that the run needs to go on."""
        self._write_kept()
        if self._best is not None:
            save_checkpoint(self.path / "best.pt.next", {**self._identity(stage), **self._best})
        reports = [asdict(report) for report in history]
        save_checkpoint(self.path / "last.pt", {**self._identity(stage), **content, "history": reports})
        self._best = None
        self._adopt_best()
        self._write_metrics(history)

    def write_figures(self, history: Sequence[EpochReport]) -> None:
        """Write scores and metrics of a run that cannot go on and whose record stays where it was."""
        self._write_kept()
        self._write_metrics(history)

    def read_best(self) -> dict[str, Any]:
        """Return the chosen epoch's weights, whether or not they are on disk yet."""
        if self._best is not None:
            return self._best
        pending = self.path / "best.pt.next"
        return load_checkpoint(pending if pending.exists() else self.path / "best.pt")

    def _write_kept(self) -> None:
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

    def _write_metrics(self, history: Sequence[EpochReport]) -> None:
        write_json_lines(self.path / "metrics.jsonl", [asdict(report) for report in history])

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
