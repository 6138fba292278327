"""The scheduler: first come, first served, and the study's pruner stops what lags behind.

The pruner's state is the ledger, so it survives a restart; the rungs of Ray's own schedulers do not.
"""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune.stopping import Stopper
from tune.trial_source import TrialSource

ANSWER_S = 2.0


class PrunerScheduler(FIFOScheduler):
    """Passes every report to the searcher and stops the trial if it says so.

    Tune calls the scheduler before the searcher, and no longer calls the searcher once a trial is stopped;
    so the report is handed over here.
    """

    def __init__(self, source: TrialSource, stopper: Stopper) -> None:
        super().__init__()
        self.source, self.stopper = source, stopper
        self._added: list[Trial] = []  # since it was asked last; nothing was started for them yet

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept whatever Tune passes on."""
        del metric, mode, spec
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it beside its results; nobody reads that file."""
        return {}

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Remember that a trial is new."""
        super().on_trial_add(tune_controller, trial)
        self._added.append(trial)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Return a trial that waits, a new one first, unless everything is to stop.

        A worker that has become free goes to the trial that is returned. If that is one whose own worker is being
        started, Tune kills the start: where trials end faster than workers start, most never would.
        """
        if self.stopper.asked():
            return None
        added, self._added = self._added, []
        fresh = next((trial for trial in added if trial.status == Trial.PENDING), None)
        found: Trial | None = fresh or super().choose_trial_to_run(tune_controller)
        return found

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Note what Ray says of a worker that is gone, before the searcher is told that it is."""
        del tune_controller
        text = error_text(trial)
        error = " ".join(text.rpartition("ray.exceptions.")[2].split())
        if "OutOfMemoryError" in text or "running low on memory" in text:
            self.source.on_loss(trial.trial_id, "the machine ran out of memory")
        elif (machine := machine_that_died(trial)) is not None:
            self.source.on_loss(trial.trial_id, f"machine {machine} is gone", spared=True)
            actor = trial.temporary_state.ray_actor
            if actor is not None:  # Ray moves what was reserved there to other machines until Tune lets go of it
                ray.kill(actor)
        elif error.startswith("Actor"):
            self.source.on_loss(trial.trial_id, error[:200])

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Return CONTINUE or STOP."""
        del tune_controller
        stop = self.source.on_report(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


def error_text(trial: Trial) -> str:
    """Return what Ray says of the error that ended a worker, its traceback if it has one; empty if it said nothing.

    Tune's own function looks where the file is not yet.
    """
    file = trial.error_file
    if file is None or not Path(file).is_file():
        return ""
    return Path(file).read_text(encoding="utf-8", errors="replace")


def machine_that_died(trial: Trial) -> str | None:
    """Return the address of the machine that took a trial's worker with it; None if it is there, or none was known.

    Ray knows of a machine's end only after a while. Its part on that machine does not answer any more at once.
    """
    address = trial.last_result.get("node_ip")
    nodes = [node for node in ray.nodes() if node["NodeManagerAddress"] == address]
    if address is None or not nodes:
        return None
    for node in nodes:
        if not node["Alive"]:
            continue
        with suppress(OSError):
            socket.create_connection((address, node["NodeManagerPort"]), ANSWER_S).close()
            return None
    return str(address)
