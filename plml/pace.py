"""How often a run writes its record: as often as that costs a small share of its time, and no oftener."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.05  # of the time of training that writing may take
FIRST_COST_S = 0.1  # what the first record is taken to cost, before one was timed


class Pace:
    """Decides when the next record is due.

    A long epoch is recorded each time; of runs whose epochs take milliseconds, what a killed process loses is at
    most twenty times the cost of a record, and training that again gives the same figures. Time counts as the epochs
    took it, not by the clock: a process that trains others in between would record after every epoch otherwise.
    """

    def __init__(self) -> None:
        self._cost = FIRST_COST_S
        self._trained = 0.0  # since the last record, s

    def due(self, seconds: float) -> bool:
        """Whether the epoch that ends now, after ``seconds``, is to be recorded."""
        self._trained += seconds
        return self._trained >= self._cost / SHARE

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Time what is written within the block."""
        began = time.perf_counter()
        yield
        self._begin_anew(time.perf_counter() - began)

    def _begin_anew(self, cost: float) -> None:
        self._cost, self._trained = cost, 0.0


class CommonPace(Pace):
    """One pace for runs that train side by side: all of them record after the same epochs, or none does."""

    def __init__(self) -> None:
        super().__init__()
        self._now = False
        self._spent = 0.0

    @contextmanager
    def epoch(self, seconds: float) -> Iterator[None]:
        """Decide for all runs whose epoch of ``seconds`` ends within the block; their records together are the cost."""
        self._now = super().due(seconds)
        self._spent = 0.0
        yield
        if self._now:
            self._begin_anew(self._spent)

    def due(self, seconds: float) -> bool:
        """What was decided for the epoch."""
        return self._now

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Add the time that the block takes to this epoch's cost."""
        began = time.perf_counter()
        yield
        self._spent += time.perf_counter() - began
