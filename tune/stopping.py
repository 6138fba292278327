"""SIGINT, SIGTERM, SIGUSR1 and a spent time budget all end a study in the same orderly way."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopper:
    """Whether the study is to stop, and why.

    Attributes:
        reason: ``signal``, ``time`` or None.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.in_ray = False
        self._timer: threading.Timer | None = None

    def asked(self) -> bool:
        """Whether the study is to stop."""
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Stop; a running Tuner takes SIGUSR1 as its sign to end at the next step."""
        self.reason = self.reason or reason
        if self.in_ray:
            os.kill(os.getpid(), signal.SIGUSR1)

    def after(self, seconds: float | None) -> None:
        """Stop once ``seconds`` have passed; None: never."""
        if seconds is not None:
            self._timer = threading.Timer(seconds, self.ask, ("time",))
            self._timer.daemon = True
            self._timer.start()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the three signals within the block; a second one interrupts at once."""
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def note(number: int, frame: FrameType | None) -> None:
            del frame
            if number == signal.SIGUSR1:
                # Before a Tuner listens for it: it is enough to know, no trial is handed out any more.
                self.reason = self.reason or "signal"
            elif self.reason == "signal":
                raise KeyboardInterrupt
            else:
                self.ask("signal")

        for number in SIGNALS:
            signal.signal(number, note)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
