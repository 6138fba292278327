"""A crew: many trials of mode ``linear`` trained by one worker as populations, an epoch of everybody at a time.

After each epoch the crew tells the driver about all of its trials at once and is told in turn which of them the pruner
stops and which new trials take their places.
"""

from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from plml.errors import DamagedError, DivergenceError, PlmlError
from plml.heartbeat import show_life_in
from plml.out_of_memory import is_out_of_memory, release_memory
from plml.population import Ended, Population, kind_of
from plml.report import EpochReport
from plml.trainer import Trainer
from tune.repeats import Repeats
from tune.trainable import (
    LOCK_TIMEOUT_S,
    Task,
    TrialReport,
    failure_of,
    note_error,
    open_run,
    reset_process,
    running_best,
)


@dataclass(frozen=True)
class Orders:
    """What the driver answers.

    Attributes:
        stop: keys of trials that are to end here.
        start: trials to take in.
    """

    stop: Sequence[str] = ()
    start: Sequence[Task] = ()


Exchange = Callable[[list[TrialReport]], Orders]


@dataclass
class Member:
    """A trial of the crew.

    Attributes:
        task: what the driver sent.
        run: its trainer, or one a seed.
        best: ``(epoch, running best)`` so far.
        told: how many of them the driver knows.
    """

    task: Task
    run: Trainer | Repeats
    hold: ExitStack
    best: list[tuple[int, float]] = field(default_factory=list)
    told: int = 0

    @property
    def trainers(self) -> Sequence[Trainer]:
        """The trainers of the run."""
        return self.run.trainers if isinstance(self.run, Repeats) else [self.run]

    def news(self) -> TrialReport | None:
        """Return what the driver does not know yet; None when no epoch was completed since."""
        if isinstance(self.run, Repeats):
            self.run.collect()
        for report in self.run.history[len(self.best) :]:
            self.best.append(running_best(self.task, self.best, report))
        if self.told == len(self.best):
            return None
        earlier, self.told = self.best[self.told : -1], len(self.best)
        outcome = "complete" if self.run.finished else "running"
        return TrialReport(outcome, *self.best[-1], earlier=earlier, key=self.task.key)  # type: ignore[arg-type]


class Crew:
    """Trains tasks until none is left.

    Args:
        exchange: tells the driver and returns its orders; may raise whatever ends the worker.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.members: dict[str, Member] = {}
        self.populations: dict[Hashable, list[Population]] = {}
        self.alone: dict[Trainer, Generator[EpochReport, None, None]] = {}  # features that the device does not hold
        self.largest = 2**31  # runs that a population may have; lowered when memory does not do
        self._lost: list[TrialReport] = []

    def run(self, tasks: Sequence[Task]) -> None:
        """Train ``tasks`` and whatever the driver adds.

        Raises:
            RuntimeError, ...: trouble that concerns the process rather than one trial; ``error.json`` in the folder
                of every trial of the crew says what happened.
        """
        reset_process(tasks[0])
        show_life_in(Path(tasks[0].folder))
        try:
            self._start(tasks)
            while self.members or self._lost:
                if self.members:  # one of those whom the driver believes to be trained here
                    show_life_in(Path(next(iter(self.members.values())).task.folder))
                self._epoch()
                orders = self.exchange(self._news())
                for key in orders.stop:
                    if key in self.members:
                        self._drop(self.members[key])
                self._start(orders.start)
        except Exception as error:
            for member in self.members.values():
                note_error(Path(member.task.folder), error)
            raise
        finally:
            for member in list(self.members.values()):
                self._drop(member)
            show_life_in(None)

    # -- who is in it -------------------------------------------------------------------------------------

    def _start(self, tasks: Sequence[Task]) -> None:
        for kind, trainers in self._open_all(tasks).items():
            self._join(kind, trainers)

    def _open_all(self, tasks: Sequence[Task]) -> dict[Hashable, list[Trainer]]:
        """Open trials; return what is to be trained, by kind."""
        fresh: dict[Hashable, list[Trainer]] = {}
        for task in tasks:
            member = self._open(task)
            if member is None:
                continue
            self.members[task.key] = member
            for trainer in member.trainers:
                if not trainer.finished:
                    fresh.setdefault(kind_of(trainer), []).append(trainer)
        return fresh

    def _join(self, kind: Hashable, trainers: list[Trainer]) -> None:
        """Take runs of one kind in, where there is room or in new populations."""
        if kind is None:
            self.alone |= {trainer: trainer.epochs() for trainer in trainers}
            return
        everybody = [*trainers, *(t for each in self.populations.get(kind, ()) for t in each.members.values())]
        try:
            self._place(self.populations.setdefault(kind, []), trainers)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            detail = str(error)
        else:
            return
        # Out of the except block, whose traceback keeps tensors alive. Nobody knows how far the move came.
        del self.populations[kind]
        trainers.clear()
        self._halve(everybody, detail)

    def _place(self, places: list[Population], trainers: list[Trainer]) -> None:
        for population in places:
            while trainers and len(population) < self.largest:
                population.join(trainers.pop())
        starts = range(0, len(trainers), self.largest)
        places += [Population(trainers[start : start + self.largest]) for start in starts]

    def _open(self, task: Task) -> Member | None:
        """Open a trial's run; what keeps it from being trained is told with the next news."""
        folder = Path(task.folder)
        hold = ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.json").unlink(missing_ok=True)
            hold.enter_context(FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S))
            return Member(task, open_run(task, folder), hold)
        except (PlmlError, OSError) as error:
            hold.close()
            self._lost.append(_failure(task, error))
            return None

    def _drop(self, member: Member) -> None:
        """Let a trial go; its record says how far it came, if the disk takes one."""
        for trainer in member.trainers:
            try:
                self._release(trainer)
            except OSError as error:
                note_error(Path(member.task.folder), error)
        self.members.pop(member.task.key).hold.close()

    def _release(self, trainer: Trainer) -> None:
        home = next((each for each in self._all() if trainer in each.members.values()), None)
        if home is not None:
            home.leave(trainer)
        elif trainer in self.alone:
            self.alone.pop(trainer).close()
        trainer.record()

    def _all(self) -> list[Population]:
        return [population for places in self.populations.values() for population in places]

    # -- training -----------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        """Train everybody for one epoch."""
        for trainer in list(self.alone):
            self._step_alone(trainer)
        for places in list(self.populations.values()):
            waiting = list(places)
            while waiting:  # not a loop over a list, which would keep a population alive that memory did not do for
                population = waiting.pop(0)
                if not len(population):
                    places.remove(population)
                    continue
                trainers = list(population.members.values())
                try:
                    results = population.epoch()
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    detail = str(error)
                else:
                    for result in results:
                        if isinstance(result, Ended):
                            self._lose(result)
                    continue
                places.remove(population)
                del population
                self._halve(trainers, detail)

    def _step_alone(self, trainer: Trainer) -> None:
        if trainer not in self.alone:  # it went with another seed of its trial
            return
        try:
            next(self.alone[trainer])
        except (DamagedError, DivergenceError, OSError) as error:
            self._lose(Ended(trainer, error))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            detail = str(error)
        else:
            if trainer.finished:
                self.alone.pop(trainer).close()
            return
        if trainer in self.alone:
            self._halve([trainer], detail)

    def _lose(self, ended: Ended) -> None:
        """A run cannot go on: its trial ends, and so do its other seeds."""
        for member in list(self.members.values()):
            if any(trainer is ended.trainer for trainer in member.trainers):
                self._lost.append(_failure(member.task, ended.error))
                self._drop(member)

    def _halve(self, trainers: list[Trainer], detail: str) -> None:
        """Memory did not do for so many at once: go on from their records in halves."""
        members = [m for m in self.members.values() if any(t in m.trainers for t in trainers)]
        count, tasks = len(trainers), [member.task for member in members]
        for trainer in trainers:
            self.alone.pop(trainer, None)
        trainers.clear()
        for member in members:
            self._drop(member)
        members.clear()
        del member, trainer
        release_memory()
        if count == 1:
            self._lost += [TrialReport("out_of_memory", detail=detail, key=task.key) for task in tasks]
            return
        self.largest = max(1, count // 2)
        self._start(tasks)

    def _news(self) -> list[TrialReport]:
        news, self._lost = self._lost, []
        for member in list(self.members.values()):
            try:
                told = member.news()
            except (PlmlError, OSError) as error:  # it does not report the metric, or the means cannot be written
                told = _failure(member.task, error)
            if told is not None:
                news.append(told)
            if told is not None and told.outcome != "running":
                self._drop(member)
        return news


def _failure(task: Task, error: Exception) -> TrialReport:
    failure = failure_of(error, task.key)
    if failure is not None:
        return failure
    note_error(Path(task.folder), error)
    return TrialReport("broken", detail=f"{type(error).__name__}: {error}", key=task.key)


def run_crew(tasks: Sequence[Task], exchange: Exchange) -> None:
    """Train ``tasks`` as a crew; see :class:`Crew`."""
    Crew(exchange).run(tasks)
