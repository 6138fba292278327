"""Where a study keeps its files, who holds it, and how it is moved out of the way."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from plml.checkpoint import write_text
from plml.errors import ConfigError, PlmlError
from tune.signature import Signature

MAX_NAME = 100  # characters of a study's, a grid's or a trial's name, which names a folder


def is_plain_name(name: str) -> bool:
    """Whether a folder may be called so on every system, with what is added to it, and it cannot lead elsewhere."""
    return len(name) <= MAX_NAME and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) is not None


class StudyHeldError(PlmlError):
    """Another driver runs this study."""


@dataclass(frozen=True)
class StudyFolder:
    """Files of one study, all under ``path`` (``OUTPUT/STUDY``)."""

    path: Path

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """Optuna's journal, unless another storage was asked for."""
        return self.path / "optuna.log"

    @property
    def study_file(self) -> Path:
        """The resolved study, as it runs."""
        return self.path / "study.yaml"

    @property
    def storage_file(self) -> Path:
        """The storage that holds the study's ledger, in one line."""
        return self.path / "storage.txt"

    def trial(self, key: str) -> Path:
        """Run folder of a trial; raise ConfigError for a key that would lead elsewhere, from a ledger not of ours."""
        if not is_plain_name(key):
            raise ConfigError(f"a trial's key consists of letters, digits, '_', '-' and '.', got {key!r}")
        return self.path / "trials" / key

    def storage(self, asked: str | None = None) -> str:
        """Return the ledger's URL or file: what was asked for, else what the study used before, else the journal."""
        if asked:
            return asked
        if self.storage_file.is_file():
            return self.storage_file.read_text(encoding="utf-8").strip()
        return str(self.journal)

    @property
    def run_store_file(self) -> Path:
        """The URL under which the study's runs are kept between machines, in one line."""
        return self.path / "run_store.txt"

    def run_store(self, asked: str | None = None) -> str | None:
        """Return that URL: what was asked for, else what the study used before; None: runs are in this folder."""
        if asked:
            return asked.rstrip("/")
        return self.run_store_file.read_text(encoding="utf-8").strip() if self.run_store_file.is_file() else None

    @property
    def driver_file(self) -> Path:
        """Says who runs the study."""
        return self.path / ".driver.json"

    def holder(self) -> str | None:
        """Return ``process 123 on host (since ...)`` of the driver that runs the study now, or None.

        The lock itself is not touched, so a driver that starts this very moment is not turned away. Of a driver
        on another machine one cannot know whether it lives; it is named.
        """
        who = self._signature()
        return None if who is None or who.is_dead else str(who)

    def _signature(self) -> Signature | None:
        try:
            return Signature.parse(json.loads(self.driver_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            return None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the study's only driver within the block.

        Raises:
            ConfigError: there can be no folder at its path.
            StudyHeldError: somebody else is; the message names process and host.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileNotFoundError, FileExistsError) as error:
            raise ConfigError(f"{self.path} cannot be made: {error.strerror}") from None
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            holder = self._signature() or "another process"  # it took the lock this very moment and has not signed
            raise StudyHeldError(f"study '{self.name}' in {self.path} is being run by {holder}") from None
        try:
            write_text(self.driver_file, json.dumps(Signature.own().tree()))
            yield
        finally:
            self.driver_file.unlink(missing_ok=True)
            lock.release()

    def discard(self) -> Path | None:
        """Move the folder to ``OUTPUT/.trash`` and return where it went; None if there was nothing."""
        if not (self.path / "study.yaml").exists() and not self.journal.exists():
            return None
        trash = self.path.parent / ".trash" / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        trash.parent.mkdir(exist_ok=True)
        shutil.move(self.path, trash)
        return trash
