"""What a user is told to type: in the project's folder a script, elsewhere a command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tune import invocation
from tune.invocation import RUNNERS, runner_command, usage

SCRIPTS = sorted(RUNNERS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_was_typed_is_told_again(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"../{script}"])
    assert usage(script) == f"python {script}"
    assert runner_command(script)[1:] == [f"../{script}"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_command_that_was_typed_is_told_again(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / RUNNERS[script]
    command.parent.mkdir()
    command.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert usage(script) == RUNNERS[script]
    assert runner_command(script) == [str(command)]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert runner_command(script) == [RUNNERS[script]]


def test_without_the_projects_folder_there_are_only_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook"])
    assert usage("tune/promote.py") == "python tune/promote.py"
    monkeypatch.setattr(invocation, "ROOT", tmp_path)
    assert usage("tune/promote.py") == "plml-promote"


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_runner_says_its_own_name(script: str) -> None:
    root = Path(__file__).parents[2]
    told = subprocess.run([sys.executable, str(root / script), "--help"], capture_output=True, text=True, cwd="/")
    assert told.returncode == 0
    assert told.stdout.startswith(f"usage: python {script} ")
    assert f"  python {script} --" in told.stdout
