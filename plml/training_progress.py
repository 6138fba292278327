"""What a running training shows: a bar that moves within epochs on a terminal, one line an epoch elsewhere, events."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from plml.machine_load import MachineLoad
from plml.periodic import every
from plml.report import EpochReport
from plml.terminal import Terminal
from plml.trainer import Trainer
from plml.wording import clock

BAR_S = 0.25  # between movements of the bar
PERIOD_S = 60.0  # between lines that say that a training without a bar is alive


class TrainingProgress:
    """Epochs done, the best so far, the time left and the load of this machine.

    Args:
        terminal: where to show it.
        trainer: is watched.
        period: seconds between lines where there is no bar, and between events.
    """

    def __init__(self, terminal: Terminal, trainer: Trainer, period: float = PERIOD_S) -> None:
        self.terminal, self.trainer, self.period = terminal, trainer, period
        self.total = trainer.config.total_epochs
        self._load = MachineLoad()
        self._open = ExitStack()
        self._began, self._begun_at = time.monotonic(), self._done()
        self._told_at = self._began

    def __enter__(self) -> Self:
        """Show the bar, or tell every minute."""
        if self.terminal.animated:
            self._show_bar()
        if self.terminal.tells_events or not self.terminal.animated:
            self._open.enter_context(every(self.period, self._tell))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._open.close()

    def told(self, report: EpochReport) -> None:
        """Tell of an epoch that ended: one line."""
        m = report.metrics
        left = self.seconds_left()
        self.terminal.event(
            "epoch",
            epoch=report.epoch,
            epochs=self.total,
            final=report.final,
            seconds_left=None if left is None else round(left),
            metrics=m,
        )
        self._told_at = time.monotonic()
        self.terminal.print(
            f"epoch {report.epoch:3d}  loss {m['train/loss']:.4f}  val mAP {m['val/mAP']:6.2f}  "
            f"selection {m['selection/value']:6.2f}  best {m['selection/best']:6.2f} "
            f"(epoch {m['selection/best_epoch']:.0f})  {m['time/epoch_s']:.1f} s",
            soft_wrap=True,
        )

    def seconds_left(self) -> float | None:
        """Return the estimated time to the end if no rule stops earlier; None before there is anything to go by."""
        done = self._done()
        if done <= self._begun_at:
            return None
        return max(0.0, self.total - done) * (time.monotonic() - self._began) / (done - self._begun_at)

    def _done(self) -> float:
        """Epochs done, with the share of the one that runs."""
        return self.trainer.epoch + self.trainer.progress

    def _best(self) -> str:
        if not self.trainer.history:
            return ""
        m = self.trainer.history[-1].metrics
        return f"best {m['selection/best']:.2f} (epoch {m['selection/best_epoch']:.0f})"

    def _show_bar(self) -> None:
        columns = (
            BarColumn(bar_width=30),
            TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            TextColumn("{task.fields[best]}", style="green"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[load]}", style="dim"),
        )
        bar = Progress(*columns, console=self.terminal, transient=True, refresh_per_second=4)
        # A run that goes on has a start that took no time: the bar begins there.
        fields: dict[str, Any] = {"epoch": self.trainer.epoch, "best": self._best(), "left": "", "load": ""}
        task = bar.add_task("", total=self.total, completed=self.trainer.epoch, **fields)

        def move() -> None:
            left = self.seconds_left()
            told = "" if left is None else f"about {clock(left)} left"
            shown: dict[str, Any] = {
                "epoch": self.trainer.epoch,
                "best": self._best(),
                "left": told,
                "load": self._load(),
            }
            bar.update(task, completed=self._done(), **shown)

        self._open.enter_context(bar)
        self._open.callback(move)  # a training may be shorter than the time between two movements
        self._open.enter_context(every(BAR_S, move))

    def _tell(self) -> None:
        """Tell how far it is: an event, and a line if nothing was told for a while."""
        load, left = self._load(), self.seconds_left()
        self.terminal.event(
            "progress",
            epoch=self.trainer.epoch,
            within_epoch=round(self.trainer.progress, 4),
            epochs=self.total,
            seconds_left=None if left is None else round(left),
            machine=load.fields(),
        )
        if self.terminal.animated or time.monotonic() - self._told_at < self.period:
            return
        self._told_at = time.monotonic()
        parts = [f"epoch {self.trainer.epoch}: {self.trainer.progress:.0%} trained"]
        parts += [f"about {clock(left)} left"] if left is not None else []
        self.terminal.print(", ".join([*parts, *filter(None, [self._best()]), str(load)]), soft_wrap=True)
