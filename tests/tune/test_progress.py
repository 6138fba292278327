"""What a running study shows on a terminal, and what it writes elsewhere."""

import io
from typing import Any, Literal

import pytest

from plml.terminal import Terminal
from plml.wording import clock
from tune.preview import space_table
from tune.progress import StudyProgress
from tune.stopping import Stopper


def make(terminal: bool, mode: Literal["max", "min"] = "max") -> tuple[StudyProgress, io.StringIO]:
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=terminal, width=120, color_system=None)
    return StudyProgress(console, metric="selection/best", mode=mode, total=4, concurrent=2, epochs=8), out


def play(progress: StudyProgress) -> None:
    values: dict[str, Any] = {"method.name": "an", "optim.lr": 0.00123}
    progress.began("0000", values, 1)
    progress.began("0001", {**values, "method.name": "role"}, 2)
    progress.reported("0000", 3, 31.0)
    progress.ended("0000", "COMPLETE", 33.3, "")
    progress.ended("0001", "PRUNED", 20.0, "after 2 epochs")
    progress.began("0002", values, 1)
    progress.reported("0002", 4, 12.5)


def test_lines_for_a_pipe() -> None:
    progress, out = make(terminal=False)
    with progress:
        play(progress)
    lines = out.getvalue().splitlines()
    assert lines[0] == "trial 0001  attempt 2"
    expected = ["[1/4]", "trial", "0000", "complete", "33.30", "*", "method.name=an", "optim.lr=0.00123"]
    assert lines[1].split() == expected
    assert "pruned" in lines[2]
    assert lines[2].endswith("(after 2 epochs)")
    assert len(lines) == 3


def test_the_panel_names_counts_the_best_and_what_runs() -> None:
    progress, out = make(terminal=True)
    play(progress)
    progress.terminal.print(progress._render())
    text = out.getvalue()
    assert "2/4" in text
    assert "1 done, 1 running, 1 pruned, 0 failed" in text
    assert "left" in text
    assert "best selection/best 33.30  trial 0000  method.name=an" in text
    assert "epoch 5/8" in text


def test_time_left_follows_the_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, _ = make(terminal=False)
    assert progress.seconds_left() is None
    progress.durations = [100.0, 10.0, 10.0]  # the first one waited for its worker
    progress.states.update({"COMPLETE": 1})
    assert progress.seconds_left() == pytest.approx(3 * 10.0 / 2)


def test_smaller_may_be_better() -> None:
    progress, _ = make(terminal=False, mode="min")
    for key, value in (("0000", 3.0), ("0001", 2.0), ("0002", 2.5)):
        progress.began(key, {}, 1)
        progress.ended(key, "COMPLETE", value, "")
    assert progress.best == ("0001", 2.0)


def test_an_interrupted_trial_is_not_counted() -> None:
    progress, _ = make(terminal=False)
    progress.began("0000", {}, 1)
    progress.ended("0000", "INTERRUPTED", 1.0, "its process died; it will be tried again")
    assert sum(progress.states.values()) == 0
    assert progress.live == {}


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (65, "1 min 05 s"), (3720, "1 h 02 min")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_space_table_shows_paths_ranges_and_conditions() -> None:
    from tune.study import load_study
    from tune.study_file import find_study

    out = io.StringIO()
    Terminal(file=out, width=160).print(space_table(load_study(find_study("digits")).space))
    text = out.getvalue()
    for part in ("optim.weight_decay", "or exactly 0", "method.name = epr", "an | epr | role | wan", "log scale"):
        assert part in text


def test_a_spent_time_budget_asks_to_stop() -> None:
    import time

    stopper = Stopper()
    with stopper.watch():
        stopper.after(0.05)
        deadline = time.monotonic() + 5
        while not stopper.asked() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stopper.reason == "time"


def test_a_second_signal_ends_at_once_and_a_third_raises() -> None:
    import os
    import signal

    stopper = Stopper()
    with stopper.watch():
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stopper.reason, stopper.at_once) == ("signal", False)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.at_once
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_time_left_is_guessed_from_epochs_before_a_trial_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of = [100.0]
    monkeypatch.setattr("tune.progress.time.monotonic", lambda: clock_of[0])
    progress, _ = make(terminal=False)
    progress.began("0000", {}, 1)
    progress.began("0001", {}, 1)
    clock_of[0] = 120.0
    assert progress.seconds_left() is None
    progress.reported("0000", 1, 10.0)  # two of eight epochs in 20 s: a trial takes 80 s
    # Two wait, two have 60 s left each, two run at once.
    assert progress.seconds_left() == pytest.approx((2 * 80 + 2 * 60) / 2)


def test_a_pipe_hears_now_and_then_that_it_lives() -> None:
    import time

    progress, out = make(terminal=False)
    progress.period = 0.05
    progress.began("0000", {}, 1)
    with progress:
        deadline = time.monotonic() + 20
        while "0/4 trials" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    line = out.getvalue().splitlines()[0]
    assert line.startswith("0/4 trials, 0 done, 1 running, 0 pruned, 0 failed, CPU ")


def test_programs_hear_of_trials(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    terminal = Terminal()
    with terminal.speaking(quiet=True, json=True):
        progress = StudyProgress(terminal, metric="selection/best", mode="max", total=4, concurrent=2, epochs=8)
        with progress:
            play(progress)
            progress.ended("0002", "INTERRUPTED", 1.0, "its process died; it will be tried again")
            progress._tell()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == [
        *["trial_start"] * 2,
        *["trial"] * 2,
        "trial_start",
        "trial_interrupted",
        "progress",
    ]
    complete, pruned = events[2:4]
    assert (complete["trial"], complete["state"], complete["objective"], complete["best"]) == (
        "0000",
        "COMPLETE",
        33.3,
        True,
    )
    assert (pruned["state"], pruned["ended"], pruned["trials"], pruned["running"]) == ("PRUNED", 2, 4, 0)
    assert events[-1]["best_objective"] == 33.3
    assert 0 <= events[-1]["machine"]["cpu"] <= 100
