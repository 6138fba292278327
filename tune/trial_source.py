"""What gives Ray its trials: the part that studies, promotions and grids have in common."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray.tune.search import Searcher

from tune.trainable import TrialReport

MACHINES = 5  # that a trial may lose without being blamed for it
FINISHED: Any = Searcher.FINISHED  # a text where Tune's own signature says dictionary


class StudyObserver(Protocol):
    """Who is told of a study's progress (the terminal)."""

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None: ...
    def reported(self, key: str, epoch: int, objective: float) -> None: ...
    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None: ...


class TrialSource(Searcher, ABC):
    """What gives Ray its trials, takes their reports, and can be closed in the middle."""

    @abstractmethod
    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take a worker's report; return whether the trial is to be stopped."""

    @property
    @abstractmethod
    def is_training(self) -> bool:
        """Whether a trial was begun and has not ended."""

    @abstractmethod
    def close_live(self) -> None:
        """Put back every trial that is being trained."""

    @abstractmethod
    def folders(self, trial_id: str) -> Iterable[Path]:
        """Return the run folders in which a Ray trial shows that it lives."""

    @abstractmethod
    def on_loss(self, trial_id: str, why: str, *, spared: bool = False) -> None:
        """Learn why a worker is about to be gone, before :meth:`on_trial_complete`.

        Args:
            trial_id: Ray's.
            why: in words.
            spared: its machine is gone, for which no trial is to blame: it costs no attempt.
        """

    def on_room(self, concurrent: int) -> None:
        """Learn how many workers there may be from now on."""
        del concurrent

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept whatever Tune passes on; the ledger has its own metric and space."""
        del metric, mode, config, spec
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: every launch is a fresh Tuner on the same ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the searcher beside its results; nobody reads that file."""
        return {}


def died(why: str, epoch: int = -1) -> str:
    """Return what is known of a process that wrote nothing before it was gone."""
    when = f" after epoch {epoch}" if epoch >= 0 else ""
    return f"its process died{when}{f' ({why})' if why else ''}"


def error_note(folder: Path) -> str | None:
    """Return what a worker wrote into a run folder before it raised; None if it wrote nothing."""
    try:
        return str(json.loads((folder / "error.json").read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError):
        return None


def read_report(told: Mapping[str, Any]) -> TrialReport:
    """Return what a worker told, from the plain dictionary that Ray passes on."""
    return TrialReport(**{name: told[name] for name in TrialReport.__dataclass_fields__})
