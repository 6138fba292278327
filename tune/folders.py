"""Where a study keeps its files, who holds it, and how it is moved out of the way."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from plml.checkpoint import write_text
from plml.errors import PlmlError


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
        """Run folder of a trial."""
        return self.path / "trials" / key

    def storage(self, asked: str | None = None) -> str:
        """Return the ledger's URL or file: what was asked for, else what the study used before, else the journal."""
        if asked:
            return asked
        if self.storage_file.is_file():
            return self.storage_file.read_text(encoding="utf-8").strip()
        return str(self.journal)

    def holder(self) -> str | None:
        """Return ``process 123 on host since ...`` of the driver that runs the study now, or None."""
        if not (self.path / ".lock").exists():
            return None
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return self._holder_text()
        lock.release()
        return None

    def _holder_text(self) -> str:
        try:
            who = json.loads((self.path / ".driver.json").read_text(encoding="utf-8"))
            return f"process {who['pid']} on {who['host']} (since {who['since']})"
        except (OSError, ValueError, KeyError):
            return "another process"  # it took the lock this very moment and has not signed yet

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the study's only driver within the block.

        Raises:
            StudyHeldError: somebody else is; the message names process and host.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise StudyHeldError(f"study '{self.name}' in {self.path} is being run by {self._holder_text()}") from None
        try:
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            write_text(self.path / ".driver.json", json.dumps(who))
            yield
        finally:
            lock.release()

    def discard(self) -> Path | None:
        """Move the folder to ``OUTPUT/.trash`` and return where it went; None if there was nothing."""
        if not (self.path / "study.yaml").exists() and not self.journal.exists():
            return None
        trash = self.path.parent / ".trash" / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        trash.parent.mkdir(exist_ok=True)
        shutil.move(self.path, trash)
        return trash
