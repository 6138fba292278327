"""Starting over in the same process, by the same command, when Ray's own processes on this machine have died.

Without them nothing in Ray answers any more: its calls wait, and after a minute it ends the process without a word. The
ledger has everything, so the shortest way on is a new start.
"""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import psutil

from tune.arguments import INTERRUPTED, ONCE
from tune.stopping import DEADLINE

KEEPERS = ("gcs_server", "raylet")
MOST = 5  # starts over in a row, without a trial that ended in between
COUNTER = "PLML_RELAUNCHES"
LOOK_EVERY_S = 1.0  # at Ray's processes
GRACE_S = 20.0  # for an orderly start over; Ray ends the process a minute after its own processes died


class Relaunch:
    """Knows the processes without which the Ray that this process started is dead."""

    def __init__(self) -> None:
        self._count = int(os.environ.get(COUNTER, "0"))
        self._once = threading.Lock()
        children = [(child.name(), child) for child in psutil.Process().children()]
        # After a new start those that died before are still there as zombies.
        self._keepers = [(name, child) for name, child in children if name in KEEPERS and _lives(child)]

    def dead(self) -> str | None:
        """Return the name of a process that has died; None if all live."""
        for name, keeper in self._keepers:
            if not _lives(keeper):
                return name
        return None

    @contextmanager
    def watching(self, stopped: Callable[[], bool], deadline: float, grace_s: float = GRACE_S) -> Iterator[None]:
        """Within the block, start over also if the thread that should waits for a Ray that no longer answers.

        What was being trained then stays open, as after SIGKILL, and is put back by the new start.

        Args:
            stopped: whether somebody has asked for the end.
            deadline: of the launch's time budget.
            grace_s: time for an orderly start over, in seconds from the death.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_EVERY_S):
                dead = self.dead()
                if dead and not over.wait(grace_s):
                    self.now(dead, again=not stopped(), deadline=deadline)

        watcher = threading.Thread(target=watch, name="watch over Ray", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def note_progress(self) -> None:
        """A trial ended: what dies next is the first."""
        self._count = 0

    def now(self, dead: str, *, again: bool = True, deadline: float = math.inf) -> NoReturn:
        """Replace this process by a new start of its command, or end it if that was done too often.

        Args:
            dead: what died.
            again: False: somebody has asked for the end, so it is the end.
            deadline: of the launch's time budget, which holds for the new start too.
        """
        self._once.acquire()  # whoever comes second waits for the end of this process
        sys.stdout.flush()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # where one died, others follow
                child.kill()
        if not again:
            sys.stderr.write(f"stopped, and Ray's {dead} died; nothing is lost, the same command goes on\n")
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        if self._count >= MOST:
            sys.stderr.write(f"error: Ray's {dead} died {MOST + 1} times and no trial ended in between; ")
            sys.stderr.write("nothing is lost, the same command goes on\n")
            sys.stderr.flush()
            os._exit(INTERRUPTED)  # an orderly end would wait for Ray
        sys.stderr.write(f"Ray's {dead} died; starting again\n")
        sys.stderr.flush()
        os.environ |= {COUNTER: str(self._count + 1), DEADLINE: str(deadline)}
        command = [argument for argument in sys.orig_argv if argument not in ONCE]
        os.execv(sys.executable, command)  # noqa: S606 - the command that the user gave # nosec B606


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
