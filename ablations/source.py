"""What Ray asks for work: the searches of all cells and the runs that follow from them, as one source of trials."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.search import CellSearch
from tune.run_queue import PlannedRun, RunQueue
from tune.searcher import LedgerSearcher
from tune.trial_source import FINISHED, StudyObserver, TrialSource


class GridSource(TrialSource):
    """Hands out runs as soon as their configuration is known, and the searches' trials before.

    Args:
        searches: open searches with who asks for their trials, in the order of cells.
        queue: runs that are known already; further ones are added.
        tuned: returns the runs of a cell whose search has ended.
    """

    def __init__(
        self,
        searches: Mapping[CellSearch, LedgerSearcher],
        queue: RunQueue,
        tuned: Callable[[CellSearch], Iterable[PlannedRun]],
    ) -> None:
        super().__init__()
        self.searches, self.queue, self.tuned = list(searches.items()), queue, tuned
        self.everybody: list[TrialSource] = [queue, *(searcher for _, searcher in self.searches)]
        self.owners: dict[str, TrialSource] = {}  # by Ray trial

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return a search's next trial, else the next runs; None: not now; FINISHED: nothing is left."""
        if self.queue.stopper.asked():
            return None if self.is_training else FINISHED  # nothing follows from a search that was cut short
        for search, searcher in list(self.searches):
            found = searcher.suggest(trial_id)
            if found == FINISHED:
                self.searches.remove((search, searcher))
                self.queue.add(self.tuned(search))
            elif found is not None:
                self.owners[trial_id] = searcher
                return found
        found = self.queue.suggest(trial_id)
        if found == FINISHED:
            return None if self.searches else FINISHED
        if found is not None:
            self.owners[trial_id] = self.queue
        return found

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass a report on to whoever gave the work."""
        return trial_id in self.owners and self.owners[trial_id].on_report(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell whoever gave the work that its worker is gone."""
        if trial_id in self.owners:
            self.owners[trial_id].on_trial_complete(trial_id, result, error)

    def folders(self, trial_id: str) -> Iterable[Path]:
        """Return the run folders of what a worker trains."""
        return self.owners[trial_id].folders(trial_id) if trial_id in self.owners else ()

    def on_loss(self, trial_id: str, why: str, *, spared: bool = False) -> None:
        """Tell whoever gave the work why its worker is about to be gone."""
        if trial_id in self.owners:
            self.owners[trial_id].on_loss(trial_id, why, spared=spared)

    def on_room(self, concurrent: int) -> None:
        """Share runs among so many workers; a search that others are beside keeps to one."""
        self.queue.on_room(concurrent)

    @property
    def is_training(self) -> bool:
        """Whether something was begun and has not ended."""
        return any(source.is_training for source in self.everybody)

    def close_live(self) -> None:
        """Put back whatever was being trained when somebody asked to stop."""
        for source in self.everybody:
            source.close_live()


class Named:
    """An observer that hears of a cell's trials under names that no other cell's have.

    Args:
        observer: who is told.
        place: of the cell, from 0.
        label: of the cell.
    """

    def __init__(self, observer: StudyObserver, place: int, label: str) -> None:
        self.observer, self.prefix, self.label = observer, f"{place}/", label

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None:
        """A trial is handed to a worker."""
        self.observer.began(self.prefix + key, {"cell": self.label, **values}, attempt)

    def reported(self, key: str, epoch: int, objective: float) -> None:
        """A trial has evaluated an epoch."""
        self.observer.reported(self.prefix + key, epoch, objective)

    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
        """A trial has ended, or will be tried again."""
        self.observer.ended(self.prefix + key, state, objective, detail)
