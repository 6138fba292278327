"""The processes of the other devices as the leader sees them: started, told what to do, and ended.

A follower is told by lines of JSON on its standard input and answers by lines on its standard output. When the leader
is gone, however it ended, that input ends, and so does the follower.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from plml.distributed.errors import DeviceGroupError
from plml.heartbeat import beat

PREFIX = "plml-devices-"  # of folders, then the leader's process id
END_S = 5.0  # what a follower has to end in before it is killed
NOTICE_S = 2.0  # within so much of a connection that broke off, the process that broke it is known to be gone


class Followers:
    """The processes of ranks 1 to ``size - 1``.

    Args:
        size: number of processes, the leader included.
        device: ``cpu`` or ``cuda``; a follower takes the GPU of its rank.
        timeout_s: how long a process waits for another one in the middle of an epoch.

    Attributes:
        folder: a folder of these processes alone, where they find each other and say why they failed.
    """

    def __init__(self, size: int, device: str, timeout_s: float) -> None:
        _remove_left_over()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ending = False
        root = str(Path(__file__).resolve().parents[2])  # found there wherever the leader found it
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        told = {"size": size, "device": device, "timeout_s": timeout_s, "leader": os.getpid()}
        try:
            for rank in range(1, size):
                settings = json.dumps({**told, "rank": rank, "folder": str(self.folder)})
                with (self.folder / f"{rank}.log").open("wb") as log:
                    process = subprocess.Popen(  # noqa: S603 - this interpreter
                        # -P: what lies in the folder that the leader was started in shadows no module.
                        [sys.executable, "-P", "-m", "plml.distributed.follower", settings],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env={**os.environ, "PYTHONPATH": path},
                        start_new_session=True,  # Ctrl-C is the leader's
                    )
                self._processes.append(process)
        except BaseException:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        """Process ids in the order of ranks."""
        return [process.pid for process in self._processes]

    def watch(self, lost: Callable[[], None]) -> None:
        """Call ``lost``, in a thread of its own, when a process ends that was not asked to."""

        def wait(process: "subprocess.Popen[bytes]") -> None:
            process.wait()
            if not self._ending:
                lost()

        for process in self._processes:
            threading.Thread(target=wait, args=(process,), daemon=True).start()

    def tell(self, command: Mapping[str, Any]) -> None:
        """Send a command to all.

        Raises:
            DeviceGroupError: one of them is gone.
        """
        line = json.dumps(command).encode() + b"\n"
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except BrokenPipeError:
                raise DeviceGroupError(self.trouble(NOTICE_S)) from None

    def answers(self, limit_s: float) -> list[str]:
        """Return a line of each, in the order of ranks.

        Raises:
            DeviceGroupError: one of them is gone, or says nothing for ``limit_s``.
        """
        found = []
        until = time.monotonic() + limit_s
        for rank, process in enumerate(self._processes, start=1):
            assert process.stdout is not None
            while not select.select([process.stdout], [], [], 1.0)[0]:
                beat()  # the limit is here
                if time.monotonic() > until:
                    raise DeviceGroupError(f"device {rank} (process {process.pid}) did not answer within {limit_s:g} s")
            line = process.stdout.readline()
            if not line:
                raise DeviceGroupError(self.trouble(NOTICE_S))
            found.append(line.decode().rstrip("\n"))
        return found

    def trouble(self, wait_s: float) -> str:
        """Return why the processes lost each other: what the first of them that failed says, or what ended it.

        Args:
            wait_s: how long to wait for one to be gone.
        """
        until = time.monotonic() + wait_s
        while all(process.poll() is None for process in self._processes) and time.monotonic() < until:
            time.sleep(0.02)
        told: list[tuple[float, str]] = []
        for rank, process in enumerate(self._processes, start=1):
            code = process.poll()
            who = f"device {rank} (process {process.pid})"
            reason = self.folder / f"{rank}.json"
            if reason.is_file():
                failure = json.loads(reason.read_text(encoding="utf-8"))
                told.append((failure["time"], f"{who} failed: {failure['error']}"))
            elif code is not None:
                how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
                told.append((0.0, f"{who} was ended by {how}{self._last_words(rank)}"))
        if told:
            return min(told)[1]
        alive = ", ".join(str(pid) for pid in self.pids)
        return f"the devices did not answer each other in time; the other processes, {alive}, still run"

    def _last_words(self, rank: int) -> str:
        lines = (self.folder / f"{rank}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return f": {lines[-1]}" if lines else ""

    def end(self) -> None:
        """End every process, by force if need be, and remove their folder."""
        self._ending = True
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it is gone, and a command was on its way
                process.stdin.close()
        until = time.monotonic() + END_S
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_left_over() -> None:
    """Remove folders of leaders that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        leader = folder.name.removeprefix(PREFIX).partition("-")[0]
        if leader.isdigit() and not psutil.pid_exists(int(leader)):
            shutil.rmtree(folder, ignore_errors=True)
