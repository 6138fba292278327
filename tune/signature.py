"""Who drives a study: what a driver leaves in its folder or database for others to read."""

import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Signature:
    """A process, told from every other one.

    Attributes:
        pid: its number.
        born: when it began, seconds since 1970; numbers of processes are used again.
        host: of its machine.
        space: of process numbers; containers on one machine may share its name. None: unknown.
        since: when it signed, for the reader.
    """

    pid: int
    born: float
    host: str
    space: int | None
    since: str

    @classmethod
    def own(cls) -> "Signature":
        """Return that of this process."""
        return cls(
            os.getpid(),
            psutil.Process().create_time(),
            socket.gethostname(),
            _process_space(),
            time.strftime("%Y-%m-%d %H:%M:%S"),
        )

    @classmethod
    def parse(cls, found: Any) -> "Signature | None":
        """Return the signature in a tree that was read; None for anything else."""
        known = {"pid": int, "born": float, "host": str, "since": str}
        if not isinstance(found, dict) or any(not isinstance(found.get(key), kind) for key, kind in known.items()):
            return None
        space = found.get("space")
        return cls(**{key: found[key] for key in known}, space=space if isinstance(space, int) else None)

    def tree(self) -> dict[str, Any]:
        """Return what :meth:`parse` reads."""
        return asdict(self)

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended for certain: of one on another machine one cannot know."""
        if self.host != socket.gethostname() or self.space != _process_space():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.born
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def _process_space() -> int | None:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
