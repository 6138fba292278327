"""The console that the runner writes to."""

from rich.console import Console

FILE_WIDTH = 160  # a table that goes to a file or a pipe is not squeezed into 80 columns


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for tables where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, FILE_WIDTH))
