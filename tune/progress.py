"""What a running study shows: a live panel on a terminal, one line a trial elsewhere, events for programs."""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self

from optuna.trial import FrozenTrial
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from plml.machine_load import MachineLoad
from plml.periodic import every
from plml.terminal import Terminal
from plml.wording import clock
from tune.space import brief

ROWS = 10  # trials that the panel shows; a worker may train dozens at once
PERIOD_S = 60.0  # between lines that say that a study without a panel is alive


class StudyProgress:
    """Counts, the best so far with its configuration, and the time left; an observer of the searcher.

    Args:
        terminal: where to show it.
        metric: name of the objective.
        mode: ``max`` or ``min``.
        total: trials of the budget.
        concurrent: trials at once.
        epochs: epochs of a trial that is not stopped.
        period: seconds between lines where there is no panel, and between events.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        metric: str,
        mode: Literal["max", "min"],
        total: int,
        concurrent: int,
        epochs: int,
        period: float = PERIOD_S,
    ) -> None:
        self.terminal, self.metric, self.mode, self.period = terminal, metric, mode, period
        self.total, self.concurrent, self.epochs = total, concurrent, epochs
        self.states: Counter[str] = Counter()
        self.live: dict[str, tuple[Mapping[str, Any], int, float | None, float]] = {}
        self.values: dict[str, Mapping[str, Any]] = {}
        self.best: tuple[str, float] | None = None
        self.durations: list[float] = []
        self.started = time.monotonic()
        self._told_at = self.started
        self._load = MachineLoad()
        self._open = ExitStack()

    def resume(self, states: Mapping[str, int], best: FrozenTrial | None) -> None:
        """Start from what the ledger holds already."""
        self.states.update(states)
        if best is not None and best.value is not None:
            key = best.user_attrs["key"]
            self.best, self.values[key] = (key, best.value), best.user_attrs["values"]

    def __enter__(self) -> Self:
        """Show the panel, or tell every minute."""
        self.started = self._told_at = time.monotonic()
        if self.terminal.animated:
            self._open.enter_context(
                Live(get_renderable=self._render, console=self.terminal, refresh_per_second=2, transient=True)
            )
        if self.terminal.tells_events or not self.terminal.animated:
            self._open.enter_context(every(self.period, self._tell))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the panel away."""
        self.stop()

    def stop(self) -> None:
        """Take the panel away, if it is there."""
        self._open.close()

    def say(self, text: str) -> None:
        """Print a line above the panel."""
        self._told_at = time.monotonic()
        self.terminal.print(escape(text), highlight=False, soft_wrap=True)

    # -- observer -----------------------------------------------------------------------------------------

    def began(self, key: str, values: Mapping[str, Any], attempt: int) -> None:
        """A trial is handed to a worker."""
        self.values[key] = values
        self.live[key] = (values, -1, None, time.monotonic())
        self.terminal.event("trial_start", trial=key, attempt=attempt, values=values)
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
            self.terminal.event("trial_interrupted", trial=key, detail=detail)
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
        self.terminal.event(
            "trial",
            trial=key,
            state=state,
            objective=objective,
            best=better,
            detail=detail,
            seconds=round(self.durations[-1], 3),
            values=self.values.get(key, {}),
            **self._standing(),
        )
        figure = "-" if objective is None else f"{objective:.2f}"
        done = sum(self.states.values())
        line = f"[{done}/{self.total}] trial {key}  {state.lower():8}  {figure:>6}{' *' if better else '  '}"
        self.say(f"{line}  {brief(self.values.get(key, {}))}{'  (' + detail + ')' if detail else ''}")

    # -- how far it is ------------------------------------------------------------------------------------

    def seconds_left(self) -> float | None:
        """Return the estimated time to the end of the budget; None before an epoch of a trial has ended."""
        duration = self._duration()
        if duration is None:
            return None
        now = time.monotonic()
        waiting = max(0, self.total - sum(self.states.values()) - len(self.live))
        running = [self._left_of(epoch, now - began, duration) for _, epoch, _, began in tuple(self.live.values())]
        slots = max(self.concurrent, len(self.live))  # a worker may train many at once
        # At the end slots stay empty: it lasts as long as the trial that has most before it.
        return max((waiting * duration + sum(running)) / slots, max(running, default=0.0), min(waiting, 1) * duration)

    def _left_of(self, epoch: int, elapsed: float, duration: float) -> float:
        """Return the seconds that a trial which runs has left; one that takes longer than others goes by its epochs."""
        if elapsed < duration:
            return duration - elapsed
        done = max(1, epoch + 1)
        return elapsed * max(0, self.epochs - done) / done

    def _duration(self) -> float | None:
        """Return the seconds that a trial takes, from those that ended, or else from the epochs of those that run."""
        if self.durations:
            # A trial in a new worker waits for the imports; the later half of the durations is free of that.
            recent = self.durations[len(self.durations) // 2 :]
            return sum(recent) / len(recent)
        now = time.monotonic()
        guesses = [
            (now - began) * self.epochs / (epoch + 1) for _, epoch, _, began in tuple(self.live.values()) if epoch >= 0
        ]
        return min(guesses, default=None)

    def counts(self) -> str:
        """Return the counts in words."""
        names = {"COMPLETE": "done", "PRUNED": "pruned", "FAILED": "failed"}
        parts = [f"{self.states[state]} {name}" for state, name in names.items()]
        return ", ".join([parts[0], f"{len(self.live)} running", *parts[1:]])

    def _standing(self) -> dict[str, Any]:
        """What every event says of the study."""
        left = self.seconds_left()
        return {
            "ended": sum(self.states.values()),
            "trials": self.total,
            "running": len(self.live),
            "complete": self.states["COMPLETE"],
            "pruned": self.states["PRUNED"],
            "failed": self.states["FAILED"],
            "best_trial": self.best and self.best[0],
            "best_objective": self.best and self.best[1],
            "seconds_left": None if left is None else round(left),
        }

    def _tell(self) -> None:
        """Tell how far it is: an event, and a line if nothing was told for a while."""
        load = self._load()
        self.terminal.event("progress", **self._standing(), machine=load.fields())
        if self.terminal.animated or time.monotonic() - self._told_at < self.period:
            return
        left = self.seconds_left()
        parts = [f"{sum(self.states.values())}/{self.total} trials", self.counts()]
        parts += [f"about {clock(left)} left"] if left is not None else []
        parts += [f"best {self.best[1]:.2f} (trial {self.best[0]})"] if self.best else []
        self.say(", ".join([*parts, str(load)]))

    def _render(self) -> Group:
        ended = sum(self.states.values())
        left = self.seconds_left()
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=self.total, completed=ended, width=min(30, self.terminal.width // 4)),
            Text(f"{ended}/{self.total}"),
            Text(self.counts()),
            Text(f"{clock(time.monotonic() - self.started)} elapsed"),
            Text(f"about {clock(left)} left" if left is not None else "", style="dim"),
        )
        rows: list[Any] = [head]
        if self.best is not None:
            key, value = self.best
            line = f"best {self.metric} {value:.2f}  trial {key}  {brief(self.values.get(key, {}))}"
            rows.append(Text(line, style="green", no_wrap=True, overflow="ellipsis"))
        rows.append(Text(f"this machine: {self._load()}", style="dim", no_wrap=True, overflow="ellipsis"))
        now = Table.grid(padding=(0, 2))
        live = tuple(self.live.items())
        for key, (values, epoch, objective, _) in live[:ROWS]:
            figure = "" if objective is None else f"{objective:.2f}"
            what = Text(brief(values), style="dim", no_wrap=True, overflow="ellipsis")
            now.add_row(f"  trial {key}", f"epoch {epoch + 1}/{self.epochs}", figure, what)
        if len(live) > ROWS:
            now.add_row(f"  and {len(live) - ROWS} more")
        return Group(*rows, now)
