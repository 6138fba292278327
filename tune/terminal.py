"""The console that the runner writes to."""

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console

FILE_WIDTH = 160  # a table that goes to a file or a pipe is not squeezed into 80 columns


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for tables where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, FILE_WIDTH))


def python_command() -> str:
    """Return what to type for this Python: ``python`` if that is the one the shell finds, else its path."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    return _from_here(sys.executable)


def plml_command() -> str:
    """Return what to type for the ``plml`` command of this environment."""
    script = Path(sys.executable).with_name("plml")
    found = shutil.which("plml")
    if found and Path(found).absolute() == script.absolute():
        return "plml"
    return _from_here(str(script)) if script.is_file() else f"{python_command()} -m plml"


def _from_here(path: str) -> str:
    """Return a path relative to the current folder if it lies inside it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
