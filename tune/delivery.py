"""A thread that brings what trials write into their run folders to MLflow, so that nobody waits for MLflow."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial

from plml.config import TrainConfig
from plml.report_log import read_reports
from plml.tracking import Tracker

if TYPE_CHECKING:
    from tune.trial_runs import TrialRuns

EVERY_S = 15.0  # how old the curves of a trial that is being trained may be


@dataclass
class _Pen:
    """What is known of a trial's run in this launch.

    Attributes:
        trial: the trial as it was last seen.
        config: what it trains.
        run: id of its run; None: not made yet.
        told: epochs that the store holds.
        with_params: parameters are still to be written.
    """

    trial: FrozenTrial
    config: TrainConfig | None
    run: str | None = None
    told: set[int] = field(default_factory=set)
    with_params: bool = False


class Delivery:
    """Makes, feeds and ends the runs of trials whose workers do not write to MLflow; one thread, in order.

    The thread starts with the first trial and is a daemon: a driver that is killed leaves nothing but runs that
    are behind, which :meth:`tune.trial_runs.TrialRuns.deliver` brings up to date at the next launch. What MLflow
    refuses is left to it as well.

    Args:
        runs: the study's runs.
        every_s: interval, in seconds, at which new epochs of live trials are brought.
    """

    def __init__(self, runs: "TrialRuns", *, every_s: float = EVERY_S) -> None:
        self._runs, self._every_s = runs, every_s
        self._changed = threading.Condition()
        self._due: OrderedDict[str, str] = OrderedDict()  # key -> begin | end
        self._pens: dict[str, _Pen] = {}
        self._busy = False
        self._round_at = 0.0
        self._thread: threading.Thread | None = None

    def begin(self, trial: FrozenTrial, config: TrainConfig) -> None:
        """Note a trial that begins, or goes on."""
        key = trial.user_attrs["key"]
        with self._changed:
            pen = self._pens.setdefault(key, _Pen(trial, config))
            pen.trial, pen.config = trial, config
            self._put(key, "begin")

    def end(self, trial: FrozenTrial) -> None:
        """Note a trial that has ended; one whose run is not made yet costs no more than its end."""
        key = trial.user_attrs["key"]
        with self._changed:
            self._pens.setdefault(key, _Pen(trial, None)).trial = trial
            self._put(key, "end")

    def drain(self, progress: Callable[[int], None] | None = None) -> None:
        """Wait until nothing is due; see :meth:`tune.trial_runs.TrialRuns.drain`."""
        with self._changed:
            while self._due or self._busy:
                if progress is not None:
                    progress(len(self._due) + self._busy)
                self._changed.wait(0.5)

    def _put(self, key: str, what: str) -> None:
        self._due[key] = what  # what was due for this trial before is contained in it, and keeps its place
        if self._thread is None:
            self._round_at = time.monotonic() + self._every_s
            self._thread = threading.Thread(target=self._work, name="plml-delivery", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        self._runs.wait_until_open(now=False)
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._due and time.monotonic() < self._round_at:
                    # Nobody is being trained: sleep until somebody is.
                    self._changed.wait(self._round_at - time.monotonic() if self._pens else None)
                    if not self._pens:
                        self._round_at = time.monotonic() + self._every_s
                self._busy = True
                job = self._due.popitem(last=False) if self._due else None
                pens = [self._pens[job[0]]] if job else list(self._pens.values())
                if job is not None and job[1] == "end":
                    del self._pens[job[0]]
            if job is None:
                self._round_at = time.monotonic() + self._every_s
            for pen in pens:
                try:
                    (self._end if job is not None and job[1] == "end" else self._bring)(pen)
                except Exception as error:  # noqa: BLE001 - nothing may end this thread: the study's end waits for it
                    self._runs.warn(f"trial {pen.trial.user_attrs['key']} is not in MLflow yet: {error!r}")

    def _bring(self, pen: _Pen) -> None:
        """Make the run if there is none, and bring what is new."""

        def bring(tracker: Tracker, experiment: str) -> None:
            runs = self._runs
            if pen.run is None:
                new = runs.is_new(pen.trial)
                pen.run = runs.open_run(tracker, experiment, pen.trial, pen.config, "RUNNING", with_params=not new)
                pen.with_params = new
                pen.told = set() if new else tracker.delivered_epochs(pen.run)
                if new:
                    return  # nothing to read yet
            folder = runs.folder.trial(pen.trial.user_attrs["key"])
            if runs.fetcher is not None:
                runs.fetcher.fetch(folder, ended=False)
            reports = read_reports(folder)
            reports = [report for report in reports if report.epoch not in pen.told]
            if not reports:
                return
            params = runs.params_of(pen.trial, pen.config) if pen.with_params else {}
            scaled = runs.ledger.study.space.log_paths
            tracker.write_run(pen.run, reports=reports, params=params, log_scaled=scaled)
            pen.with_params = False
            pen.told |= {report.epoch for report in reports}

        self._runs.guarded(bring)

    def _end(self, pen: _Pen) -> None:
        told = pen.told if pen.run is not None else None
        self._runs.guarded(
            lambda tracker, experiment: self._runs.deliver_run(
                tracker,
                experiment,
                pen.trial,
                config=pen.config,
                told=told,
                with_params=pen.with_params,
                files=False,
            )
        )
