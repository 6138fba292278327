"""Arguments that the runners of studies, promotions and grids share, and how their errors end."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from plml.arguments import amount, whole
from plml.installed import require_packages

if TYPE_CHECKING:
    from plml.terminal import Terminal

WRONG_INPUT, INTERRUPTED, HELD = 2, 4, 5
ONCE = frozenset({"--fresh", "--yes", "--retry-failed"})  # what must not happen again when a command continues


def add_places(group: Any) -> None:
    """Add where results, figures and workers are."""
    group.add_argument("--output-dir", default="results", metavar="DIR", help="everything (default: ./results)")
    group.add_argument(
        "--tracking-uri", type=address, metavar="URI", help="MLflow store (default: sqlite:///OUTPUT_DIR/mlflow.db)"
    )
    group.add_argument("--address", type=cluster, help="a running Ray cluster, HOST:PORT; default: this machine alone")


def address(text: str) -> str:
    """Return the address of a database or server; refuse one with a password in it, without repeating that."""
    from plml.tracking_uri import told_secret

    if secret := told_secret(text, "the address"):
        raise argparse.ArgumentTypeError(secret)
    return text


def cluster(text: str) -> str:
    """Return the address of a cluster's head, ``HOST:PORT`` or ``auto``; whether anybody answers is asked later."""
    if text == "auto":
        return text
    if text == "local":
        raise argparse.ArgumentTypeError("leave --address out to train on this machine alone, got 'local'")
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"give HOST:PORT of the cluster's head, and start this command on one of its machines, got '{text}'"
        )
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, such as 10.0.0.1:6379, got '{text}'")
    return text


def add_size(group: Any) -> None:
    """Add what one training occupies."""
    group.add_argument(
        "--gpus-per-trial", type=amount, metavar="G", help="0, a fraction, 1, or so many that train it together"
    )
    group.add_argument("--cpus-per-trial", type=whole(1), metavar="C")
    group.add_argument(
        "--max-concurrent", type=whole(1), metavar="M", help="trainings at once; default: as many as fit"
    )


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


def exit_code(run: Callable[[], int], what: str, options: argparse.Namespace) -> int:
    """Run; return its exit code, or that of an error, which is told in one line.

    Args:
        run: does it.
        what: it is: study, promotion, grid.
        options: of the command line; :func:`plml.arguments.add_voice` says how it speaks.
    """
    require_packages()
    from plml.terminal import terminal

    with terminal.speaking(quiet=options.quiet, json=options.events):
        code = _exit_code(run, what, terminal)
        terminal.event("end", exit_code=code)
    return code


@contextmanager
def _like_an_interrupt(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals mean what Ctrl-C does within the block; the caller's own handlers return after it."""
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers in the main thread only
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _exit_code(run: Callable[[], int], what: str, terminal: "Terminal") -> int:
    from plml.errors import PlmlError

    def tell(text: str) -> None:
        terminal.event("error", message=text)
        sys.stderr.write(f"error: {text}\n")

    try:
        with _like_an_interrupt(signal.SIGTERM, signal.SIGUSR1):
            return run()
    except PlmlError as error:
        kind = type(error).__name__
        tell(str(error))
        if kind == "TroubleError":
            sys.stderr.write(f"nothing is lost; the same command continues the {what}\n")
        return {"StudyHeldError": HELD, "TroubleError": INTERRUPTED}.get(kind, WRONG_INPUT)
    except OSError as error:
        from plml.storage import storage_trouble, wrong_path

        if wrong := wrong_path(error):
            tell(wrong)
            return WRONG_INPUT
        trouble = storage_trouble(error)
        if trouble is None:
            raise
        tell(trouble)
        sys.stderr.write(f"nothing is lost; the same command continues the {what}\n")
        return INTERRUPTED
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command continues the {what}\n")
        return INTERRUPTED
