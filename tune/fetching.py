"""The driver's copies of runs that are trained away from the study's folder, and their workers' signs of life."""

import json
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from ray.tune import Callback
from ray.tune.experiment import Trial

from plml.checkpoint import write_text
from plml.heartbeat import FILE as ALIVE
from plml.tracking import TrackingError
from tune.away import life_letter
from tune.folders import StudyFolder
from tune.mail import letters, read_letter
from tune.records import state_of
from tune.run_store import RunStore, is_light
from tune.site import Site
from tune.trial_source import TrialSource

NOTES = ".fetched.json"
LOOK_EVERY_S = 5.0


class Fetcher:
    """Brings runs from a store into the study's folder, where everything that reads them looks.

    Args:
        store: where workers put them.
        folder: the study's.
        warn: tells the user, one line.
    """

    def __init__(self, store: RunStore, folder: StudyFolder, warn: Callable[[str], None]) -> None:
        self.store, self.folder, self.warn = store, folder, warn
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._due: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def fetch(self, folder: Path, *, ended: bool) -> None:
        """Bring what is small of a run that changed; of one that has ended the rest follows in a thread.

        Raises:
            TrackingError: the store does not give it; what is to be told of the run can be told later.
        """
        try:
            self._bring(folder, light=True)
        except OSError as error:
            raise TrackingError(f"the store of runs does not answer: {error}") from error
        if not ended:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="plml-fetch", daemon=True)
            self._thread.start()
        self._due.put(folder)

    def finish(self, trials: Iterable[FrozenTrial]) -> None:
        """Bring everything of trials that have ended, once no worker writes any more; trouble is told."""
        waiting = [(self.folder.trial(trial.user_attrs["key"]), _receipt(trial)) for trial in trials]
        waiting = [(folder, receipt) for folder, receipt in waiting if _notes(folder).get("receipt") != receipt]
        with ThreadPoolExecutor(8, thread_name_prefix="plml-fetch") as pool:
            missing = [error for error in pool.map(lambda each: self._finish(*each), waiting) if error]
        if missing:
            self.warn(f"the files of {len(missing)} trials are still in the store ({missing[0]}); ")
            self.warn("the same command brings them")

    def _finish(self, folder: Path, receipt: str) -> str | None:
        try:
            self._bring(folder, light=False, receipt=receipt)
        except OSError as error:
            return str(error)
        return None

    def _work(self) -> None:
        while True:
            folder = self._due.get()
            try:
                self._bring(folder, light=False)
            except OSError:  # told at the end, if it still is so
                time.sleep(1)

    def _bring(self, folder: Path, *, light: bool, receipt: str | None = None) -> None:
        run = folder.relative_to(self.folder.path).as_posix()
        with self._locks[folder]:
            notes = _notes(folder)
            known: dict[str, str] = notes.get("files", {})
            there = self.store.listing(run)
            new = [name for name, mark in there.items() if known.get(name) != mark or not (folder / name).exists()]
            new = [name for name in new if not light or is_light(name)]
            if not new and receipt is None:
                return
            self.store.get(run, new, folder)
            if "error.json" not in there:
                (folder / "error.json").unlink(missing_ok=True)
            files = known | {name: there[name] for name in new}
            write_text(folder / NOTES, json.dumps({"files": files, "receipt": receipt}))


def open_fetcher(url: str, folder: StudyFolder, uid: str, warn: Callable[[str], None]) -> Fetcher:
    """Return who brings the runs of a study from below ``url``, and note that they are there.

    A study that is begun again is another one, so its runs are below another name.

    Raises:
        ConfigError: the store cannot be opened, written or read.
    """
    store = RunStore(f"{url}/{folder.name}-{uid}")
    store.check()
    write_text(folder.run_store_file, url + "\n")
    return Fetcher(store, folder, warn)


class Pulse(Callback):
    """Shows in the study's folder that workers live which do not see it; :class:`tune.vigil.Vigil` looks there.

    Args:
        source: knows in which folders a Ray trial shows that it lives.
        site: of the launch.
    """

    def __init__(self, source: TrialSource, site: Site) -> None:
        self.source, self.site = source, site
        self._known: dict[str, bytes | None] = {}
        self._look_at = 0.0

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look, if it is time to."""
        del iteration, info
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        told = set(letters(life_letter(self.site.mail, "")))
        for trial in trials:
            if trial.status != Trial.RUNNING:
                continue
            for folder in self.source.folders(trial.trial_id):
                name = life_letter(self.site.mail, folder.relative_to(self.site.root).as_posix())
                if name not in told:
                    continue
                sign = read_letter(name)
                if self._known.get(name) != sign:
                    self._known[name] = sign
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / ALIVE).touch()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it beside its results; nobody reads that file."""
        return {}


def _receipt(trial: FrozenTrial) -> str:
    return f"{state_of(trial)} {trial.number} {trial.user_attrs.get('attempt')}"


def _notes(folder: Path) -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes
