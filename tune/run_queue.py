"""Fixed configurations, trained to their end: what a promotion and an ablation grid hand to Ray.

Nothing is searched and nothing is pruned here. A run is named by its folder, which says whether it is complete, so a
queue needs no ledger.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from plml.config import TrainConfig
from plml.population import is_stackable
from tune.crew import Orders
from tune.orders import Book
from tune.stopping import Stopper
from tune.trainable import Task, TrialReport
from tune.trial_source import FINISHED, MACHINES, StudyObserver, TrialSource, died, error_note, read_report

ATTEMPTS = 3
FAILURE_BUDGET = 10  # failures in a row, without one that is doing well, after which the others are not begun


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Attributes:
        key: its name in the queue; no two runs share it.
        values: ``{name: value}`` that tell it from others, for people.
        config: what is trained.
        folder: its run folder.
    """

    key: str
    values: Mapping[str, Any]
    config: TrainConfig
    folder: Path


class RunKeeper(Protocol):
    """Who keeps runs in MLflow."""

    @property
    def uri(self) -> str | None:
        """The store that workers write to, or None."""

    def begin(self, run: PlannedRun) -> str | None:
        """Return the id of the run that its worker is to write to, or None."""

    def end(self, run: PlannedRun, state: str, detail: str) -> None:
        """The run is COMPLETE, FAILED or INTERRUPTED."""


@dataclass
class LiveRun:
    """A run that a worker trains now."""

    run: PlannedRun
    attempt: int


class RunQueue(TrialSource):
    """Hands out runs; those of mode ``linear`` many at a time, for one worker to train as populations.

    Args:
        runs: the first runs; more may be added while it works.
        observer: is told of progress.
        keeper: keeps runs in MLflow.
        gpu: GPUs of a run.
        stopper: whether it is to stop; is told of trouble with storage.
        crew: most runs that a worker trains at once; 1: every run has a worker to itself.
        orders: where crews find their answers; needed for crews.
        concurrent: workers; no crew takes what the others could train.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        observer: StudyObserver,
        keeper: RunKeeper,
        *,
        gpu: float,
        stopper: Stopper,
        crew: int = 1,
        orders: Book | None = None,
        concurrent: int = 1,
    ) -> None:
        super().__init__()
        self.concurrent = concurrent
        self.observer, self.keeper, self.gpu, self.stopper = observer, keeper, gpu, stopper
        self.crew, self.orders = crew if orders else 1, orders
        self.waiting = [(run, 1) for run in runs]
        self.live: dict[str, dict[str, LiveRun]] = {}  # by Ray trial, by key
        self.answers: Counter[str] = Counter()
        self.failures: dict[str, str] = {}  # why runs failed, by key
        self.failures_in_a_row = 0
        self.losses: dict[str, str] = {}  # why workers are gone, by Ray trial
        self.without_machine: set[str] = set()  # Ray trials whose machine is gone
        self.spared: Counter[str] = Counter()  # attempts that were not counted for that, by key

    def add(self, runs: Iterable[PlannedRun]) -> None:
        """Put further runs at the end of the queue."""
        self.waiting += [(run, 1) for run in runs]

    @property
    def is_training(self) -> bool:
        """Whether a run was begun and has not ended."""
        return any(self.live.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next run's task, or a crew's; None: not now; FINISHED: nothing is left, or all of them fail."""
        if not self.waiting or self.stopper.asked() or self.failures_in_a_row >= FAILURE_BUDGET:
            return None if self.is_training else FINISHED
        first, attempt = self.waiting.pop(0)
        if self.crew == 1 or not is_stackable(first.config):
            return {"task": asdict(self._begin(trial_id, first, attempt, run_id=self.keeper.begin(first)))}
        assert self.orders is not None
        left = 1 + sum(is_stackable(run.config) for run, _ in self.waiting)
        size = min(self.crew, math.ceil(left / self.concurrent))
        crew = [(first, attempt), *self._fellows(first, size - 1)]
        return {
            "crew": [asdict(self._begin(trial_id, run, attempt)) for run, attempt in crew],
            "name": trial_id,
            "orders": self.orders.address,
        }

    def _fellows(self, first: PlannedRun, wanted: int) -> list[tuple[PlannedRun, int]]:
        """Take runs out of the queue that can be trained with ``first``: on the same data, so that it is held once."""
        data = first.config.tree()["data"]
        fit = [each for each in self.waiting if is_stackable(each[0].config) and each[0].config.tree()["data"] == data][
            :wanted
        ]
        self.waiting = [each for each in self.waiting if each not in fit]
        return fit

    def _begin(self, trial_id: str, run: PlannedRun, attempt: int, *, run_id: str | None = None) -> Task:
        self.live.setdefault(trial_id, {})[run.key] = LiveRun(run, attempt)
        self.observer.began(run.key, dict(run.values), attempt)
        return Task(
            tree=run.config.tree(),
            folder=str(run.folder),
            tracking_uri=self.keeper.uri if run_id else None,
            run_id=run_id,
            gpus=self.gpu,
            key=run.key,
        )

    # -- Ray tells ----------------------------------------------------------------------------------------

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Follow runs; none is stopped but by the end of everything."""
        if "told" not in result:
            told = read_report(result)
            keys = list(self.live.get(trial_id, {}))
            return bool([key for key in keys if self._listen(trial_id, key, told)])
        all_told = [read_report(each) for each in result["told"]]
        stop = [told.key for told in all_told if self._listen(trial_id, told.key, told)]
        assert self.orders is not None
        self.orders.write(trial_id, self.answers[trial_id], Orders(stop))
        self.answers[trial_id] += 1
        return False

    def _listen(self, trial_id: str, key: str, told: TrialReport) -> bool:
        """Take a run's report; return whether it is to stop."""
        live = self.live.get(trial_id, {}).get(key)
        if live is None:
            return False
        if told.objective is not None:
            self.failures_in_a_row = 0
            self.observer.reported(key, told.epoch, told.objective)
        match told.outcome:
            case "complete":
                self._end(trial_id, live, "COMPLETE", told.objective, "")
            case "running" if self.stopper.asked():
                self._end(trial_id, live, "INTERRUPTED", None, "")
                return True
            case "broken":
                self._try_again(trial_id, live, told.detail)
            case "storage":
                self.stopper.ask("trouble", told.detail)
                self._end(trial_id, live, "INTERRUPTED", None, "")
            case "diverged" | "out_of_memory" | "rejected":
                self._end(trial_id, live, "FAILED", None, f"{told.outcome.replace('_', ' ')}: {told.detail}")
        return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker is gone; runs of it that are not complete are tried again."""
        why = self.losses.pop(trial_id, "")
        for live in list(self.live.get(trial_id, {}).values()):
            if self.stopper.asked():
                self._end(trial_id, live, "INTERRUPTED", None, "")
            elif trial_id in self.without_machine and self.spared[live.run.key] < MACHINES:
                self.spared[live.run.key] += 1
                self.waiting.insert(0, (live.run, live.attempt))
                self._end(trial_id, live, "INTERRUPTED", None, f"{why}; it goes on elsewhere")
            else:
                self._try_again(trial_id, live, error_note(live.run.folder) or died(why))
        self.live.pop(trial_id, None)

    def folders(self, trial_id: str) -> Iterable[Path]:
        """Return the run folders of what a worker trains."""
        return [live.run.folder for live in self.live.get(trial_id, {}).values()]

    def on_loss(self, trial_id: str, why: str, *, spared: bool = False) -> None:
        """Keep why a worker is about to be gone."""
        self.losses.setdefault(trial_id, why)
        if spared:
            self.without_machine.add(trial_id)

    def on_room(self, concurrent: int) -> None:
        """Share what waits among so many workers."""
        self.concurrent = concurrent

    def close_live(self) -> None:
        """Close the runs that were being trained when somebody asked to stop."""
        for trial_id, members in list(self.live.items()):
            for live in list(members.values()):
                self._end(trial_id, live, "INTERRUPTED", None, "")

    def _try_again(self, trial_id: str, live: LiveRun, detail: str) -> None:
        if live.attempt >= ATTEMPTS:
            self._end(trial_id, live, "FAILED", None, f"{detail} ({live.attempt} attempts)")
            return
        self.waiting.insert(0, (live.run, live.attempt + 1))
        self._end(trial_id, live, "INTERRUPTED", None, f"{detail}; it will be tried again")

    def _end(self, trial_id: str, live: LiveRun, state: str, objective: float | None, detail: str) -> None:
        del self.live[trial_id][live.run.key]
        if state == "FAILED":
            self.failures[live.run.key] = detail
            self.failures_in_a_row += 1
        self.keeper.end(live.run, state, detail)
        self.observer.ended(live.run.key, state, objective, detail)


def by_kind(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return ``runs`` so that those which train together best, on the same data by the same method, are neighbours."""

    def kind(run: PlannedRun) -> tuple[str, ...]:
        config = run.config
        return (str(config.tree()["data"]), config.method["name"], str(config.optim.batch_size), config.optim.name)

    order = {name: place for place, name in enumerate(dict.fromkeys(map(kind, runs)))}
    return sorted(runs, key=lambda run: order[kind(run)])
