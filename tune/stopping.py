"""How a launch stops: in order after the current epoch, or at once, and why.

SIGINT, SIGTERM and SIGUSR1, a spent time budget and trouble with storage all stop it in the same way: no trial begins,
and each one that is being trained ends with its current epoch and saves. A second signal does not wait for that.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

DEADLINE = "PLML_DEADLINE"  # on the steady clock, which a new start of the process shares
Reason = Literal["signal", "time", "trouble"]


class Stopper:
    """Whether the launch is to stop, why, and how fast.

    Args:
        say: is told, one line, when somebody interrupts.

    Attributes:
        reason: why it is to stop; None: it is not.
        trouble: what went wrong, if that is the reason.
        at_once: it is not to wait for epochs to end.
        deadline: of the time budget, on :func:`time.monotonic`; infinite without one.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self.reason: Reason | None = None
        self.trouble = ""
        self.at_once = False
        self._say = say or (lambda _: None)
        self.deadline = math.inf
        self._warned = False
        self._timer: threading.Timer | None = None
        self._end_tuner: Callable[[int, FrameType | None], Any] | None = None

    def asked(self) -> bool:
        """Whether the launch is to stop."""
        return self.reason is not None

    def ask(self, reason: Reason, trouble: str = "") -> None:
        """Stop in order; the first reason counts."""
        if self.reason is None:
            self.reason, self.trouble = reason, trouble

    def lose(self, trouble: str) -> None:
        """Stop at once, because going on would do harm; from any thread."""
        self.ask("trouble", trouble)
        self.end()

    def tell(self, text: str) -> None:
        """Tell the user something, one line."""
        self._say(text)

    def end(self) -> None:
        """Stop at once; from any thread."""
        self.at_once = True

    def after(self, seconds: float | None) -> None:
        """Stop once ``seconds`` have passed; None: never."""
        if seconds is not None:
            # A launch that starts over (tune.relaunch) has what is left of its time, not all of it again.
            now = time.monotonic()
            self.deadline = min(now + seconds, float(os.environ.get(DEADLINE, "inf")))
            self._timer = threading.Timer(max(0.0, self.deadline - now), self.ask, ("time",))
            self._timer.daemon = True
            self._timer.start()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take the three signals within the block: the first stops in order, the second at once, a third raises."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.at_once:
            raise KeyboardInterrupt
        if self._warned:
            self.end()
            self._say("stopping at once")
        else:
            self._warned = True
            self.ask("signal")
            self._say("stopping: every trial ends its epoch and saves; once more stops at once")

    def at_step(self) -> None:
        """End a Tuner if it is to end at once; called by it at every step, in the main thread, within :meth:`watch`.

        A Tuner claims SIGUSR1 when it begins; it is taken back, and what it would have done is kept for the end.
        """
        handler = signal.getsignal(signal.SIGUSR1)
        if handler != self._on_signal and callable(handler):
            self._end_tuner = handler
            signal.signal(signal.SIGUSR1, self._on_signal)
        if self.at_once and self._end_tuner is not None:
            self._end_tuner(signal.SIGUSR1, None)
            self._end_tuner = None
