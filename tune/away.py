"""Training away from the study's folder: runs lie on the worker's own disk and are kept in a store meanwhile."""

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from plml.heartbeat import last_beat
from tune.mail import put_letter
from tune.run_store import ERROR, RunStore, Stamp
from tune.site import Site
from tune.trainable import Task, TrialReport

BEAT_EVERY_S = 5.0
SHARE = 0.05  # of the time that putting records may take
PREFIX = "plml-run-"


@dataclass
class _Run:
    """A run that is trained here.

    Attributes:
        name: its path in the store.
        folder: where it lies here.
        known: files as the store has them.
        cost_s: what putting everything took last.
        put_at: when that was.
    """

    name: str
    folder: Path
    known: dict[str, Stamp] = field(default_factory=dict)
    cost_s: float = 0.0
    put_at: float = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() - self.put_at >= self.cost_s / SHARE


class Away:
    """The runs of this worker: brought from the store before they begin, put into it as they go on.

    Args:
        site: names the study's folder and the store.
        store: the store.
        tell_life: is told which run showed a sign of life, and which sign; from a thread.
    """

    def __init__(self, site: Site, store: RunStore, tell_life: Callable[[str, int], None]) -> None:
        self.root, self.store, self._tell_life = Path(site.root), store, tell_life
        self.owner = uuid.uuid4().hex
        self._runs: dict[str, _Run] = {}  # by the trial's key
        self._over = threading.Event()
        remove_leftovers()
        threading.Thread(target=self._show_life, name="plml-life", daemon=True).start()

    def take(self, task: Task) -> Task:
        """Bring what there is of a run and return the task with its folder on this machine."""
        name = Path(task.folder).relative_to(self.root).as_posix()
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._runs[task.key] = _Run(name, folder)
        self.store.claim(name, self.owner)
        self.store.forget_error(name)
        self.store.get(name, [each for each in self.store.listing(name) if each != ERROR], folder)
        return replace(task, folder=str(folder))

    def take_all(self, tasks: Iterable[Task]) -> tuple[list[Task], list[TrialReport]]:
        """Take tasks; return those that can begin, and what is to be told of those that the store does not give."""
        from tune.trainable import failure_of

        taken, lost = [], []
        for task in tasks:
            try:
                taken.append(self.take(task))
            except OSError as error:
                failure = failure_of(error, task.key)
                lost += [failure] if failure is not None else []
        return taken, lost

    @property
    def keys(self) -> list[str]:
        """Keys of the trials that are here."""
        return list(self._runs)

    def drop_all(self) -> list[str]:
        """Remove all runs from here, as the store does not take them; return their keys."""
        keys = self.keys
        for key in keys:
            shutil.rmtree(self._runs.pop(key).folder, ignore_errors=True)
        return keys

    def keep(self, told: Iterable[TrialReport], *, each_epoch: bool) -> None:
        """Put what runs have written, before the driver hears of it.

        Args:
            told: what the driver is about to hear; runs that have ended are put whole and let go.
            each_epoch: put the reports of every epoch at once, because MLflow hears of them as well; records and scores
                are put as often as they may.

        Raises:
            OSError, OwnerError: see :meth:`RunStore.put`.
        """
        for one in told:
            run = self._runs.get(one.key)
            if run is None:
                continue
            if one.outcome == "storage":
                shutil.rmtree(self._runs.pop(one.key).folder, ignore_errors=True)
            elif one.outcome != "running":
                self.let_go(one.key)
            elif run.due:
                self._put(run)
            elif each_epoch:
                self.store.put(run.name, run.folder, run.known, self.owner, light=True)

    def let_go(self, key: str) -> None:
        """Put everything of a run and remove it here."""
        run = self._runs[key]
        self._put(run)
        del self._runs[key]
        shutil.rmtree(run.folder, ignore_errors=True)

    def close(self) -> None:
        """Put everything that is still here and remove it; the last error is raised when all were tried."""
        self._over.set()
        trouble: Exception | None = None
        for key in list(self._runs):
            try:
                self.let_go(key)
            except (OSError, RuntimeError) as error:
                trouble = error
                shutil.rmtree(self._runs.pop(key).folder, ignore_errors=True)
        if trouble is not None:
            raise trouble

    def _put(self, run: _Run) -> None:
        begin = time.monotonic()
        self.store.put(run.name, run.folder, run.known, self.owner)
        run.put_at = time.monotonic()
        run.cost_s = run.put_at - begin

    def _show_life(self) -> None:
        """Tell the driver that runs change; it does not see their files."""
        signs: dict[str, int | None] = {}
        while not self._over.wait(BEAT_EVERY_S):
            for run in list(self._runs.values()):
                sign = last_beat(run.folder)
                if sign is not None and signs.get(run.name) != sign:
                    signs[run.name] = sign
                    with suppress(Exception):  # Ray's head does not answer: it is asked again
                        self._tell_life(run.name, sign)


def remove_leftovers() -> None:
    """Remove runs of processes that were killed; the store has what can be gone on from."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def open_away(site: Site) -> Away | None:
    """Return who keeps the runs of a worker in the site's store; None without one."""
    if site.store is None:
        return None
    return Away(
        site, RunStore(site.store), lambda run, sign: put_letter(life_letter(site.mail, run), str(sign).encode())
    )


def life_letter(mail: str, run: str) -> str:
    """Return the name of the letter that says that a run's worker lives."""
    return f"{mail}/life/{run}"
