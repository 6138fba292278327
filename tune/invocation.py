"""What a user types: for this Python, for the ``plml`` command, and for the runners of studies and grids."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each runner is a script of the project's folder, and a command where the project is installed.
RUNNERS = {
    "tune/run.py": "plml-study",
    "tune/status.py": "plml-status",
    "tune/promote.py": "plml-promote",
    "ablations/run.py": "plml-grid",
}


def usage(script: str) -> str:
    """Return a runner's name as its help shows it: ``python tune/run.py`` in the project's folder, or its command."""
    return RUNNERS[script] if _by_commands() else f"python {script}"


def runner_command(script: str) -> list[str]:
    """Return what to type for a runner, from this folder and in this environment, word by word.

    Args:
        script: one of ``RUNNERS``.
    """
    if Path(sys.argv[0]).name == Path(script).name:
        return [python_command(), sys.argv[0]]
    installed = _installed(RUNNERS[script]) if _by_commands() else None
    return [installed] if installed else [python_command(), script]


def python_command() -> str:
    """Return what to type for this Python: ``python`` if that is the one the shell finds, else its path."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    return _from_here(sys.executable)


def plml_command() -> str:
    """Return what to type for the ``plml`` command of this environment."""
    return _installed("plml") or f"{python_command()} -m plml"


def _by_commands() -> bool:
    """Whether the user calls commands and not scripts: one was typed, or there are no scripts to type."""
    return Path(sys.argv[0]).stem in RUNNERS.values() or not (ROOT / "pyproject.toml").is_file()


def _installed(name: str) -> str | None:
    """Return what to type for a command of this environment, None if it is not installed there."""
    script = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and Path(found).absolute() == script.absolute():
        return name
    return _from_here(str(script)) if script.is_file() else None


def _from_here(path: str) -> str:
    """Return a path relative to the current folder if it lies inside it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
