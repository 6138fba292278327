"""Calls of a driver to MLflow: trouble is told once and never raised, and then MLflow is left alone for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from plml.tracking import TrackingError

T = TypeVar("T")
QUIET_S = 60.0


class BestEffort:
    """Tries calls whose result nobody depends on.

    A store that is away makes each call wait for its limit; ten of them in a row would hold up a study by minutes.

    Args:
        warn: tells the user, one line.
        promise: what follows for the user, at the end of that line.
        quiet_s: pause after a failed call, in seconds.
    """

    def __init__(self, warn: Callable[[str], None], promise: str, *, quiet_s: float = QUIET_S) -> None:
        self._warn, self._promise, self._quiet_s = warn, promise, quiet_s
        self._quiet_until = 0.0
        self._warned = False

    def __call__(self, call: Callable[[], T]) -> T | None:
        """Return ``call()``; None if the store refuses or does not answer, or did so a short while ago."""
        if time.monotonic() < self._quiet_until:
            return None
        try:
            return call()
        except TrackingError as error:
            self._quiet_until = time.monotonic() + self._quiet_s
            if not self._warned:
                self._warn(f"MLflow: {error}; {self._promise}")
            self._warned = True
            return None

    def try_again(self) -> None:
        """End the pause: somebody waits for what is to be told now."""
        self._quiet_until = 0.0
