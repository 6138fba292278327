"""Ctrl-C once: finish the epoch, save, stop. Twice: stop at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked to stop; true after the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Collect the first SIGINT or SIGTERM within the block; the second one interrupts as usual."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
