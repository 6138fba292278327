"""The process of another device than the first, started by :mod:`plml.distributed.followers`; see there how it is told.

It trains what the leader trains and writes nothing but, when it fails, the reason.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl.h of Linux

Commands = SimpleQueue[dict[str, Any]]


def main() -> None:
    """Follow the leader until it ends."""
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    _end_with(settings["leader"])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    commands: Commands = SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    try:
        from plml.distributed.following import follow  # seconds, in which the leader may end already

        follow(settings, folder, commands.get, answer)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the leader tells it
        failure = {"time": time.time(), "error": f"{type(error).__name__}: {error}"}
        unfinished = folder / f"{settings['rank']}.tmp"
        unfinished.write_text(json.dumps(failure), encoding="utf-8")
        unfinished.replace(folder / f"{settings['rank']}.json")
        traceback.print_exc()
    os._exit(1)  # at once: a library's threads may wait for processes that are gone


def _end_with(leader: int) -> None:
    """Let the kernel end this process with the leader, even while it is stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != leader:  # it was gone before
            os._exit(1)


def _listen(commands: Commands) -> None:
    """Read commands; when no more can come, end at once, whatever the process is doing."""
    for line in sys.stdin:
        commands.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
