"""A sign of life for whoever watches this process: a file that changes as long as work goes on.

Whatever does work in small steps calls :func:`beat` at each of them; that costs a look at the clock. A process that
nobody watches has no file, and a beat does nothing.
"""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

FILE = ".alive"
EVERY_S = 2.0  # between two changes of the file


class _Pulse:
    """Where this process shows that it lives, and when it is to do so again."""

    file: Path | None = None
    due: float = 0.0


def show_life_in(folder: Path | None) -> None:
    """Show that this process lives in ``.alive`` in ``folder``, which says who it is; None: nowhere any more.

    Storage that takes no such file is met, and named, by whatever else is to be written there.
    """
    file = None if folder is None else folder / FILE
    if file == _Pulse.file:
        return
    _Pulse.file = file
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    _Pulse.due = time.monotonic() + EVERY_S


def beat() -> None:
    """Tell that something was done."""
    now = time.monotonic()
    if now < _Pulse.due or _Pulse.file is None:
        return
    _Pulse.due = now + EVERY_S
    with suppress(OSError):
        _Pulse.file.touch()


def last_beat(folder: Path) -> int | None:
    """Return a number that changes with every sign of life of the worker in ``folder``; None before the first.

    It is that machine's clock, so nothing but whether it changed means anything elsewhere.
    """
    try:
        return (folder / FILE).stat().st_mtime_ns
    except OSError:
        return None
