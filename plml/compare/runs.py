"""A run as it lies in its folder, found by what a user types."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plml.checkpoint import load_arrays
from plml.config import TrainConfig, load_config
from plml.errors import CheckpointError, ConfigError, DamagedError, DataError, nearest
from plml.report import EpochReport
from plml.report_log import read_reports
from plml.stored_runs import read_test_scores
from plml.user_path import user_path

CONFIG = "config.yaml"


@dataclass(frozen=True)
class ComparedRun:
    """One run.

    Attributes:
        name: what it is called beside the others.
        folder: its folder.
        config: its configuration.
        reports: every epoch that was evaluated.
        result: ``result.json``; None while it is not trained to its end.
        digests: what names its labels, by kind: ``test labels``, ``validation images`` and ``validation labels``; a
            kind is left out if the run has no such file.
        tested: its test logits (N, L) and labels (N, L); None if it kept none, or they are damaged.
        damage: what of its records cannot be read, a line each; the rest is compared.
    """

    name: str
    folder: Path
    config: TrainConfig
    reports: tuple[EpochReport, ...]
    result: Mapping[str, Any] | None
    digests: Mapping[str, str]
    tested: tuple[NDArray[Any], NDArray[Any]] | None = None
    damage: tuple[str, ...] = ()

    @property
    def best_epoch(self) -> int | None:
        """The chosen epoch, so far; None before the first one."""
        if self.result is not None:
            return int(self.result["best_epoch"])
        return int(self.reports[-1].metrics["selection/best_epoch"]) if self.reports else None

    @property
    def best(self) -> EpochReport | None:
        """The report of the chosen epoch; None before the first epoch, or if it cannot be read."""
        chosen = self.best_epoch
        return next((report for report in self.reports if report.epoch == chosen), None)

    def figures(self) -> dict[str, float]:
        """Return the figures of the chosen epoch, and those of test if the run ended: ``{"test/mAP": 71.2, ...}``."""
        tested = dict(self.result["metrics"]) if self.result else {}
        if self.best is None:
            return tested
        kept = {n: v for n, v in self.best.metrics.items() if n.startswith(("val/", "val_observed/"))}
        return {"selection/best": self.best.metrics["selection/best"], **kept, **tested}

    def class_precision(self) -> dict[str, float]:
        """Return the average precision on test by class, in percent; classes without a positive are left out."""
        if self.result is None:
            return {}
        both = zip(self.result["class_names"], self.result["per_class"]["test/AP"], strict=True)
        return {name: value for name, value in both if value is not None}


def read_runs(typed: Sequence[str], output: Path) -> list[ComparedRun]:
    """Return the runs that a user names, each under a name of its own.

    Args:
        typed: a run's folder, a checkpoint in it, or ``STUDY/KEY``.
        output: where studies lie.

    Raises:
        ConfigError: there is no such run.
        CheckpointError: a run's files cannot be read.
    """
    folders = [find_run(one, output) for one in typed]
    return [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def find_run(typed: str, output: Path) -> Path:
    """Return the folder of the run that ``typed`` means; see :func:`read_runs`."""
    path = user_path(typed)
    given = path.parent if path.is_file() else path
    study, _, key = typed.rpartition("/")
    for folder in (given, output / study / "trials" / key if study and key else given):
        if (folder / CONFIG).is_file():
            return folder
    if path.is_file():
        raise ConfigError(f"{typed}: beside this file is no {CONFIG}, so it lies in no run's folder")
    if path.is_dir():
        inside = _inside(path)
        here = f"; runs in it: {', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''}" if inside else ""
        raise ConfigError(f"{typed} is no run: there is no {CONFIG} in it{here}")
    raise ConfigError(f"there is no run '{typed}'{nearest(typed, _known(path, output))}")


def read_run(folder: Path, name: str) -> ComparedRun:
    """Return the run in ``folder``; raise CheckpointError if its files cannot be read."""
    result_file = folder / "result.json"
    try:
        result = json.loads(result_file.read_bytes()) if result_file.is_file() else None
        if result is not None:
            result["metrics"]["test/mAP"], result["class_names"], result["per_class"]["test/AP"], result["best_epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{result_file} is damaged ({error!r}); the command that trained the run writes it again"
        ) from error
    config = load_config(folder / CONFIG)
    damage = []
    try:
        tested = None if result is None else read_test_scores(folder)
    except (DamagedError, DataError) as error:
        tested = None
        damage.append(f"{name}: its test scores cannot be read, so no interval is told: {error}")
    run = ComparedRun(name, folder, config, tuple(read_reports(folder)), result, _digests(folder, tested), tested)
    if result is not None and run.best is None:
        damage.append(
            f"{name}: epoch {run.best_epoch}, which was chosen, is not in its metrics.jsonl: only test is told"
        )
    return replace(run, damage=tuple(damage))


def _digests(folder: Path, tested: tuple[NDArray[Any], NDArray[Any]] | None) -> dict[str, str]:
    found = {}
    labels = folder / "scores" / "labels.npz"
    if labels.is_file():
        arrays = load_arrays(labels)
        found["validation images"] = _digest([arrays["truth"]])
        found["validation labels"] = _digest([arrays["observed"]])
    if tested is not None:
        found["test labels"] = _digest([tested[1]])
    return found


def _digest(arrays: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(np.shape(array)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _inside(folder: Path) -> list[str]:
    """Runs below a folder, as they are typed."""
    return sorted(str(file.parent) for pattern in ("*", "trials/*") for file in folder.glob(f"{pattern}/{CONFIG}"))


def _known(path: Path, output: Path) -> set[str]:
    """What could have been meant: runs beside ``path``, those in ``runs``, and the trials of studies."""
    beside = {str(file.parent) for folder in {path.parent, Path("runs")} for file in folder.glob(f"*/{CONFIG}")}
    trials = {f"{f.parents[2].name}/{f.parent.name}" for f in output.glob(f"*/trials/*/{CONFIG}")}
    close = {name for name in trials if name.split("/")[0] == path.parts[0]} if path.parts else set()
    return beside | (close or trials)


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that differ; for equal folders with a number."""
    absolute = [folder.absolute() for folder in folders]
    longest = max(len(folder.parts) for folder in absolute)
    names = [folder.name for folder in absolute]
    for length in range(2, longest + 1):
        if len(set(names)) == len(set(absolute)):
            break
        names = ["/".join(folder.parts[-length:]) for folder in absolute]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique
