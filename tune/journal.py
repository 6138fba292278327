"""The journal file as the holder of a study's lock writes it: at once, and without waiting for the disk.

Optuna's own backend takes a lock file, opens the file, waits for the disk and reads the line back for each record,
3 ms and more, and a trial of 25 epochs makes 40 records.
"""

import json
import os
import threading
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

SYNC_S = 0.5


class DriverJournal(JournalFileBackend):
    """A journal file with one writer, which holds the study's lock; any number of processes may read along.

    Each call to :meth:`append_logs` hands its records to the operating system in one write, so whatever was
    appended survives the death of the process, SIGKILL included. The disk is told at most ``sync_s`` later, once
    for everything written until then: a power cut can lose the records of that last moment. A line that it tore
    is cut off at the next opening, see :func:`tune.records.repair_journal`.

    Records of this process are handed back to Optuna from memory as long as nobody else appended to the file.

    Args:
        file: the journal; created if missing.
        sync_s: longest time, in seconds, for which a record may be unknown to the disk.
    """

    def __init__(self, file: Path, *, sync_s: float = SYNC_S) -> None:
        super().__init__(str(file))
        self._sync_s = sync_s
        self._descriptor = os.open(file, os.O_RDWR | os.O_APPEND)
        weakref.finalize(self, os.close, self._descriptor)
        self._unread: list[str] = []  # own records that Optuna has not read back, the first of number _unread_from
        self._unread_from = 0
        self._end = 0  # where the file ends if nobody else writes
        self._sync_lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._sync_error: OSError | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records.

        Raises:
            OSError: the disk is full or broken; nothing of ``logs`` is in the file then.
        """
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        size = os.fstat(self._descriptor).st_size
        written = self._write("".join(f"{line}\n" for line in lines).encode(), size)
        if size == self._end:
            self._unread += lines
            self._end += written
            self._log_number_offset[self._unread_from + len(self._unread)] = self._end
        self._sync_soon()

    def _write(self, content: bytes, size: int) -> int:
        """Write all of ``content`` or, if that fails, nothing."""
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise
        return len(content)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records from a number on; what this process wrote last comes from memory."""
        known = os.fstat(self._descriptor).st_size == self._end and log_number_from >= self._unread_from
        if known:
            del self._unread[: log_number_from - self._unread_from]
            self._unread_from = log_number_from
            yield from map(json.loads, tuple(self._unread))
            return
        number = log_number_from
        for log in super().read_logs(log_number_from):
            number += 1
            yield log
        self._unread, self._unread_from = [], number
        self._end = self._log_number_offset.get(number, 0)

    def flush(self) -> None:
        """Wait until the disk has everything.

        Raises:
            OSError: it does not take it.
        """
        with self._sync_lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        os.fsync(self._descriptor)

    def _sync_soon(self) -> None:
        error, self._sync_error = self._sync_error, None
        if error is not None:
            raise error
        with self._sync_lock:
            if self._timer is None:
                self._timer = threading.Timer(self._sync_s, self._sync)
                self._timer.daemon = True
                self._timer.start()

    def _sync(self) -> None:
        """Sync in the timer's thread; trouble is raised by the next append."""
        with self._sync_lock:
            self._timer = None
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._sync_error = error
