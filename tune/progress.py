"""What a running study shows: a live panel on a terminal, one line a trial elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune.space import brief

ROWS = 10  # trials that the panel shows; a worker may train dozens at once


class StudyProgress:
    """Counts, the best so far with its configuration, and the time left; an observer of the searcher.

    Args:
        console: where to show it.
        metric: name of the objective.
        mode: ``max`` or ``min``.
        total: trials of the budget.
        concurrent: trials at once.
        epochs: epochs of a trial that is not stopped.
    """

    def __init__(
        self, console: Console, *, metric: str, mode: Literal["max", "min"], total: int, concurrent: int, epochs: int
    ) -> None:
        self.console, self.metric, self.mode = console, metric, mode
        self.total, self.concurrent, self.epochs = total, concurrent, epochs
        self.states: Counter[str] = Counter()
        self.live: dict[str, tuple[Mapping[str, Any], int, float | None, float]] = {}
        self.values: dict[str, Mapping[str, Any]] = {}
        self.best: tuple[str, float] | None = None
        self.durations: list[float] = []
        self.started = time.monotonic()
        self._panel = Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)

    def resume(self, states: Mapping[str, int], best: FrozenTrial | None) -> None:
        """Start from what the ledger holds already."""
        self.states.update(states)
        if best is not None and best.value is not None:
            key = best.user_attrs["key"]
            self.best, self.values[key] = (key, best.value), best.user_attrs["values"]

    def __enter__(self) -> Self:
        """Show the panel."""
        if self.console.is_terminal:
            self._panel.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the panel away."""
        self.stop()

    def stop(self) -> None:
        """Take the panel away, if it is there."""
        if self.console.is_terminal:
            self._panel.stop()

    def say(self, text: str) -> None:
        """Print a line above the panel."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    # -- observer -----------------------------------------------------------------------------------------

    def began(self, key: str, values: Mapping[str, Any], attempt: int) -> None:
        """A trial is handed to a worker."""
        self.values[key] = values
        self.live[key] = (values, -1, None, time.monotonic())
        if attempt > 1:
            self.say(f"trial {key}  attempt {attempt}")

    def reported(self, key: str, epoch: int, objective: float) -> None:
        """A trial has evaluated an epoch."""
        values, _, _, began = self.live[key]
        self.live[key] = (values, epoch, objective, began)

    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
        """A trial has ended, or will be tried again."""
        began = self.live.pop(key, ({}, 0, None, time.monotonic()))[3]
        if state == "INTERRUPTED":
            if detail:
                self.say(f"trial {key}  {detail}")
            return
        self.states[state] += 1
        self.durations.append(time.monotonic() - began)
        better = False
        if state == "COMPLETE" and objective is not None:
            sign = 1 if self.mode == "max" else -1
            better = self.best is None or sign * objective > sign * self.best[1]
            if better:
                self.best = (key, objective)
        figure = "-" if objective is None else f"{objective:.2f}"
        done = sum(self.states.values())
        line = f"[{done}/{self.total}] trial {key}  {state.lower():8}  {figure:>6}{' *' if better else '  '}"
        self.say(f"{line}  {brief(self.values.get(key, {}))}{'  (' + detail + ')' if detail else ''}")

    # -- the panel ----------------------------------------------------------------------------------------

    def seconds_left(self) -> float | None:
        """Return the estimated time to the end of the budget; None before the first trial has ended."""
        if not self.durations:
            return None
        left = self.total - sum(self.states.values())
        # A trial in a new worker waits for the imports; the later half of the durations is free of that.
        recent = self.durations[len(self.durations) // 2 :]
        # A worker may train many at once.
        return max(0, left) * (sum(recent) / len(recent)) / max(self.concurrent, len(self.live))

    def counts(self) -> str:
        """Return the counts in words."""
        names = {"COMPLETE": "done", "PRUNED": "pruned", "FAILED": "failed"}
        parts = [f"{self.states[state]} {name}" for state, name in names.items()]
        return ", ".join([parts[0], f"{len(self.live)} running", *parts[1:]])

    def _render(self) -> Group:
        ended = sum(self.states.values())
        left = self.seconds_left()
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=self.total, completed=ended, width=30),
            Text(f"{ended}/{self.total}"),
            Text(self.counts()),
            Text(f"{clock(time.monotonic() - self.started)} elapsed"),
            Text(f"about {clock(left)} left" if left is not None else "", style="dim"),
        )
        rows: list[Any] = [head]
        if self.best is not None:
            key, value = self.best
            rows.append(
                Text(f"best {self.metric} {value:.2f}  trial {key}  {brief(self.values.get(key, {}))}", style="green")
            )
        now = Table.grid(padding=(0, 2))
        for key, (values, epoch, objective, _) in list(self.live.items())[:ROWS]:
            figure = "" if objective is None else f"{objective:.2f}"
            now.add_row(f"  trial {key}", f"epoch {epoch + 1}/{self.epochs}", figure, Text(brief(values), style="dim"))
        if len(self.live) > ROWS:
            now.add_row(f"  and {len(self.live) - ROWS} more")
        return Group(*rows, now)


def clock(seconds: float) -> str:
    """Return ``1 h 02 min``, ``3 min 05 s`` or ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
