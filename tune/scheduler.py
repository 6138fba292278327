"""The scheduler: first come, first served, and the study's pruner stops what lags behind.

The pruner's state is the ledger, so it survives a restart; the rungs of Ray's own schedulers do not.
"""

from typing import Any

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune.searcher import TrialSource
from tune.stopping import Stopper


class PrunerScheduler(FIFOScheduler):
    """Passes every report to the searcher and stops the trial if it says so.

    Tune calls the scheduler before the searcher, and no longer calls the searcher once a trial is stopped;
    so the report is handed over here.
    """

    def __init__(self, source: TrialSource, stopper: Stopper) -> None:
        super().__init__()
        self.source, self.stopper = source, stopper

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept whatever Tune passes on."""
        del metric, mode, spec
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it beside its results; nobody reads that file."""
        return {}

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Return the next trial that waits, unless everything is to stop."""
        if self.stopper.asked():
            return None
        found: Trial | None = super().choose_trial_to_run(tune_controller)
        return found

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Note what Ray says of a worker that is gone, before the searcher is told that it is."""
        del tune_controller
        error = trial.get_pickled_error()
        if isinstance(error, OutOfMemoryError):
            self.source.on_loss(trial.trial_id, "the machine ran out of memory")
        elif isinstance(error, RayActorError):
            self.source.on_loss(trial.trial_id, " ".join(str(error).split())[:200])

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Return CONTINUE or STOP."""
        del tune_controller
        stop = self.source.on_report(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)
