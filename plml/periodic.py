"""Something that is done every few seconds while other things go on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call ``call`` every so many seconds, in a thread, until the block is left; first after ``seconds``."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(seconds):
            call()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
