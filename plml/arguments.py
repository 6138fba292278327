"""Arguments that several commands share, and what their values must be."""

import argparse
from collections.abc import Callable
from typing import Any


def add_voice(group: Any) -> None:
    """Add how much is said, and to whom; see :mod:`plml.terminal`."""
    group.add_argument("--quiet", "-q", action="store_true", help="only warnings, errors and the last lines")
    group.add_argument(
        "--json", action="store_true", dest="events", help="events, one JSON object a line; all else to standard error"
    )


def whole(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of at least ``least`` for :mod:`argparse`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got '{text}'") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {number}")
        return number

    return read


def amount(text: str) -> float:
    """Read a number of at least 0 for :mod:`argparse`."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got '{text}'") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number
