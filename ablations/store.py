"""Where grids keep what they train: one folder for all grids, in which a training is found again by what it computes.

OUTPUT/ablations/runs/FINGERPRINT/     a run folder; files of the configuration count in its name
OUTPUT/ablations/studies/FINGERPRINT/  the search of a cell, an ordinary study
OUTPUT/ablations/GRID/                 what one grid concludes
"""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from plml.config import TrainConfig
from plml.report import EpochReport
from plml.report_log import read_reports
from tune.folders import StudyFolder
from tune.trainable import LOCK_TIMEOUT_S


@dataclass(frozen=True)
class Store:
    """The folder ``OUTPUT/ablations``."""

    path: Path

    def grid(self, name: str) -> StudyFolder:
        """Return the folder of a grid; it is locked as a study's is."""
        return StudyFolder(self.path / name)

    def run(self, config: TrainConfig) -> Path:
        """Return the folder of a configuration's run: the same one for every grid."""
        return self.path / "runs" / f"{config.fingerprint}{files_mark(config)}"

    def study(self, spec: dict[str, Any]) -> StudyFolder:
        """Return the folder of the search that ``spec``, plain data, describes."""
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True, default=str).encode()).hexdigest()
        return StudyFolder(self.path / "studies" / digest[:16])


def files_mark(config: TrainConfig) -> str:
    """Return what tells apart configurations that differ in where their files lie: ``""`` without files.

    A fingerprint knows files by their names only, so that a run can be repeated elsewhere. Two data sets called
    VOCdevkit must not share a result, though.
    """
    tree = config.tree()
    files = [
        tree["data"]["root"],
        tree["model"]["weights"],
        tree["data"]["observation"].get("path"),
        tree["method"].get("prior_file"),
        tree["method"].get("graph_file"),
    ]
    if not any(files):
        return ""
    return "-" + hashlib.sha256(json.dumps(files).encode()).hexdigest()[:6]


def finished_reports(folder: Path) -> list[EpochReport] | None:
    """Return the reports of a run that trained to its end, or None."""
    if not (folder / "result.json").is_file():
        return None
    reports = read_reports(folder)
    return reports if reports and reports[-1].final else None


def adopt(trained: Path, folder: Path) -> None:
    """Make the finished run in ``trained`` the one in ``folder``, too, without a second copy of its files.

    Files of a finished run are never changed in place, so both may have the same ones.
    """
    if finished_reports(folder) is not None or finished_reports(trained) is None:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    shutil.copytree(trained, fresh, copy_function=_link, ignore=shutil.ignore_patterns(".lock"))
    with FileLock(folder.parent.with_name(f".{folder.parent.name}.adopting")):
        if finished_reports(folder) is not None:
            shutil.rmtree(fresh)
            return
        if folder.exists():  # begun, and not finished
            try:
                with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
                    shutil.rmtree(folder)
            except Timeout:  # somebody is training it
                shutil.rmtree(fresh)
                return
        fresh.rename(folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
