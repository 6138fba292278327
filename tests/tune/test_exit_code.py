"""What ends a runner: its exit code, what it says, and that it leaves the process as it was."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plml.errors import ConfigError
from tune.arguments import INTERRUPTED, WRONG_INPUT, exit_code

ROOT = Path(__file__).parents[2]
OPTIONS = argparse.Namespace(quiet=False, events=False)


def fine() -> int:
    return 3


def wrong() -> int:
    raise ConfigError("optim.lr: 0 is no learning rate")


def interrupted() -> int:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job does not have
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    return 0


def ended_by_the_system() -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


def warned_by_a_scheduler() -> int:
    os.kill(os.getpid(), signal.SIGUSR1)
    return 0


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        (fine, 3, ""),
        (wrong, WRONG_INPUT, "error: optim.lr: 0 is no learning rate\n"),
        (interrupted, INTERRUPTED, "interrupted; the same command continues the study\n"),
        (ended_by_the_system, INTERRUPTED, "interrupted; the same command continues the study\n"),
        (warned_by_a_scheduler, INTERRUPTED, "interrupted; the same command continues the study\n"),
    ],
)
def test_the_exit_code_and_the_words_of_an_end(
    run: Callable[[], int], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(run, "study", OPTIONS) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("run", [fine, wrong, ended_by_the_system])
def test_a_callers_signal_handlers_return(run: Callable[[], int]) -> None:
    def callers_own(number: int, frame: object) -> None: ...

    before = {number: signal.signal(number, callers_own) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        exit_code(run, "study", OPTIONS)
        assert {number: signal.getsignal(number) for number in before} == dict.fromkeys(before, callers_own)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    "words",
    [
        ["tune/run.py", "--study", "digits"],
        ["tune/promote.py", "--study", "digits"],
        ["tune/status.py", "--study", "digits"],
        ["ablations/run.py", "--grid", "digits_boostlu"],
    ],
)
def test_a_python_without_packages_is_told_which_one_has_them(words: list[str]) -> None:
    command = [sys.executable, "-S", *words]  # without installed packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable} does not have plml's packages; `make setup`")
    assert done.stderr.count("\n") == 1
