"""Trouble with MLflow is told once, and a store that is away is not asked again and again."""

import time

import pytest

from plml.tracking import TrackingError
from tune.best_effort import BestEffort


def test_trouble_is_told_once_and_followed_by_a_pause() -> None:
    said: list[str] = []
    calls: list[float] = []
    away = True

    def call() -> str:
        calls.append(time.monotonic())
        if away:
            raise TrackingError("nobody answers")
        return "done"

    effort = BestEffort(said.append, "it goes on", quiet_s=0.3)
    assert [effort(call) for _ in range(5)] == [None] * 5
    assert len(calls) == 1
    effort.try_again()
    assert effort(call) is None
    assert len(calls) == 2
    away = False
    assert effort(call) is None
    time.sleep(0.35)
    assert effort(call) == "done"
    assert said == ["MLflow: nobody answers; it goes on"]


def test_other_errors_are_raised() -> None:
    effort = BestEffort(print, "")
    with pytest.raises(ZeroDivisionError):
        effort(lambda: 1 // 0)
