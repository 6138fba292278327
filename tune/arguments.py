"""Arguments that the runners of studies, promotions and grids share, and how their errors end."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

WRONG_INPUT, INTERRUPTED, HELD = 2, 4, 5
ONCE = frozenset({"--fresh", "--yes", "--retry-failed"})  # what must not happen again when a command continues


def add_places(group: Any) -> None:
    """Add where results, figures and workers are."""
    group.add_argument("--output-dir", default="results", metavar="DIR", help="everything (default: ./results)")
    group.add_argument(
        "--tracking-uri", type=address, metavar="URI", help="MLflow store (default: sqlite:///OUTPUT_DIR/mlflow.db)"
    )
    group.add_argument("--address", help="a running Ray cluster; default: this machine alone")


def address(text: str) -> str:
    """Return the address of a database or server; refuse one with a password in it, without repeating that."""
    from plml.tracking_uri import told_secret

    if secret := told_secret(text, "the address"):
        raise argparse.ArgumentTypeError(secret)
    return text


def add_size(group: Any) -> None:
    """Add what one training occupies."""
    group.add_argument(
        "--gpus-per-trial", type=float, metavar="G", help="0, a fraction, 1, or so many that train it together"
    )
    group.add_argument("--cpus-per-trial", type=int, metavar="C")
    group.add_argument("--max-concurrent", type=int, metavar="M", help="trainings at once; default: as many as fit")


def add_assignments(group: Any, what: str) -> None:
    """Add ``--set`` for a ``study`` or a ``grid``."""
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="assignments",
        help=f"override a path of the base configuration or a key of the {what}, e.g. data.root=DIR (repeatable)",
    )


def size_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return ``{dotted key of a study or grid: value or None}`` of :func:`add_size`."""
    return {
        "resources.gpu": options.gpus_per_trial,
        "resources.cpu": options.cpus_per_trial,
        "resources.max_concurrent": options.max_concurrent,
    }


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the command line gives: everything but None."""
    return {path: value for path, value in options.items() if value is not None}


def exit_code(run: Callable[[], int], what: str) -> int:
    """Run; return its exit code, or that of an error, which is told in one line."""
    from plml.errors import PlmlError

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGUSR1):  # outside of training they mean what Ctrl-C does
            signal.signal(number, signal.default_int_handler)
    try:
        return run()
    except PlmlError as error:
        kind = type(error).__name__
        sys.stderr.write(f"error: {error}\n")
        if kind == "TroubleError":
            sys.stderr.write(f"nothing is lost; the same command continues the {what}\n")
        return {"StudyHeldError": HELD, "TroubleError": INTERRUPTED}.get(kind, WRONG_INPUT)
    except OSError as error:
        from plml.storage import storage_trouble

        trouble = storage_trouble(error)
        if trouble is None:
            raise
        sys.stderr.write(f"error: {trouble}\nnothing is lost; the same command continues the {what}\n")
        return INTERRUPTED
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command continues the {what}\n")
        return INTERRUPTED
