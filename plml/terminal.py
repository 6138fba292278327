"""What a command that trains says: lines for people, or events for programs.

=============  ==================  ==================  =================
mode           lines               last lines          events
=============  ==================  ==================  =================
(none)         standard output     standard output
``--quiet``                        standard output
``--json``     standard error      standard error      standard output
=============  ==================  ==================  =================

Warnings are told in every mode, on standard error in the latter two. An event is one JSON object on one line; its names
and fields stand in ``docs/terminal.md``.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any, TextIO

from rich.console import Console

FILE_WIDTH = 160  # a table that goes to a file or a pipe is not squeezed into 80 columns


class Terminal(Console):
    """A console as wide as the terminal, or wide enough for tables where there is none.

    Args:
        options: of :class:`rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, **options})
        if not self.is_terminal:
            self.width = max(self.width, FILE_WIDTH)
        self._events: TextIO | None = None
        self._telling = threading.Lock()

    @property
    def animated(self) -> bool:
        """Whether bars and panels that move can be seen here."""
        return self.is_terminal and not self.is_dumb_terminal and not self.quiet

    @property
    def tells_events(self) -> bool:
        """Whether a program reads along."""
        return self._events is not None

    @contextmanager
    def speaking(self, *, quiet: bool, json: bool) -> Iterator[None]:
        """Be quiet, or tell events, for as long as a command runs.

        Whatever else is written to standard output meanwhile, by a library for one, goes where lines go.
        """
        events = sys.stdout
        # Colours and width are those of the stream, and rich looks at it only while it makes a console.
        Terminal.__init__(self, stderr=json, quiet=quiet)
        try:
            if json:
                self._events = events
                with redirect_stdout(sys.stderr):
                    yield
            else:
                yield
        except Exception as error:  # that nobody foresaw; its traceback follows, on standard error
            self.event("error", message=f"{type(error).__name__}: {error}")
            self.event("end", exit_code=1)
            raise
        finally:
            Terminal.__init__(self)

    def result(self, *things: Any, **options: Any) -> None:
        """Print one of the last lines, which a script may need: also when quiet, unless events say it."""
        was_quiet = self.quiet
        self.quiet = was_quiet and self.tells_events
        try:
            self.print(*things, **options)
        finally:
            self.quiet = was_quiet

    def warn(self, text: str) -> None:
        """Tell a line that a user should see in any case."""
        self.event("warning", message=text)
        if self.quiet:
            sys.stderr.write(f"{text}\n")
        else:
            self.print(text, style="yellow", markup=False, soft_wrap=True)

    def event(self, name: str, /, **fields: Any) -> None:
        """Tell a program, if one reads along.

        Args:
            name: of the event.
            fields: what JSON has, paths, and mappings and sequences of such; a number that is not finite becomes null.
        """
        if self._events is None:
            return
        line = json.dumps({"event": name, "time": round(time.time(), 3), **_plain(fields)})
        with self._telling:
            try:
                self._events.write(line + "\n")
                self._events.flush()
            except BrokenPipeError:
                _forget(self._events)

    def on_broken_pipe(self) -> None:
        """Go on without a word: whoever read along, ``head`` for one, went away, and the training is worth more."""
        self.quiet = True
        _forget(self.file)


def _forget(stream: IO[str]) -> None:
    """Let what is still written to a stream that nobody reads go nowhere, also at the end of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON can say it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, Sequence) else str(value)


terminal = Terminal()
