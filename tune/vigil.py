"""Watching over workers while they train: one that shows no sign of life is killed, and its trials are tried again.

Ray notices processes and machines that are gone. It does not notice a process that is there and does nothing: one
that waits for a file system, a driver or a lock, or was stopped.
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from plml.heartbeat import last_beat
from tune.relaunch import LOOK_EVERY_S, Relaunch
from tune.stopping import Stopper
from tune.trial_source import TrialSource


class Vigil(Callback):
    """Looks at every worker about once a second.

    What counts is whether a heartbeat *changes*, by this process's own steady clock: clocks of other machines and
    clocks that jump play no part.

    Args:
        source: knows in which folders a Ray trial shows that it lives.
        stopper: ends a Tuner that has nothing but trials that have not begun.
        hang_timeout: seconds without a sign of life after which a worker is killed; None: never.
        leave: puts everything back that is being trained, before this process starts over because Ray has died.
    """

    def __init__(
        self, source: TrialSource, stopper: Stopper, hang_timeout: float | None, leave: Callable[[], None]
    ) -> None:
        self.source, self.stopper, self.hang_timeout, self.leave = source, stopper, hang_timeout, leave
        self.relaunch = Relaunch()
        self._seen: dict[str, tuple[object, float]] = {}  # by Ray trial: the last sign, and when it was new
        self._look_at = self._listen_at = 0.0
        self._watched, self._last = 0.0, time.monotonic()  # seconds of watching

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look, if it is time to."""
        del iteration, info
        self.stopper.at_step()
        now = time.monotonic()
        # While this process itself waited, for a database perhaps, workers waited for it, and showed no life.
        self._watched, self._last = self._watched + min(now - self._last, LOOK_EVERY_S), now
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        if dead := self.relaunch.dead():
            self.leave()
            self.relaunch.now(dead, again=not self.stopper.asked(), deadline=self.stopper.deadline)
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        if self.stopper.asked() and not running:
            self.stopper.end()  # what waits for a place never gets one
        if self.hang_timeout is None or now < self._listen_at:
            return
        self._listen_at = now + min(30.0, self.hang_timeout / 20)  # heartbeats are files, which others may share
        self._seen = {trial.trial_id: self._news_of(trial) for trial in running}
        for trial in running:
            silent = self._watched - self._seen[trial.trial_id][1]
            if silent > self.hang_timeout and trial.temporary_state.ray_actor is not None:
                self.source.on_loss(trial.trial_id, f"killed: it showed no sign of life for {silent:.0f} s")
                self._seen[trial.trial_id] = (None, self._watched)
                ray.kill(trial.temporary_state.ray_actor)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it beside its results; nobody reads that file."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that things go on."""
        del iteration, trials, info
        self.relaunch.note_progress()
        _forget_statistics(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Let go of what nobody reads."""
        del iteration, trials, info
        _forget_statistics(trial)

    def _news_of(self, trial: Trial) -> tuple[object, float]:
        sign = [last_beat(folder) for folder in self.source.folders(trial.trial_id)]
        before = self._seen.get(trial.trial_id)
        return before if before is not None and before[0] == sign else (sign, self._watched)


def _forget_statistics(trial: Trial) -> None:
    """Empty Tune's running means of each figure: it keeps trials to the end, and half of one is this."""
    trial.metric_analysis.clear()
    trial.metric_n_steps.clear()
