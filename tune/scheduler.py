"""The scheduler: first come, first served, and the study's pruner stops what lags behind.

The pruner's state is the ledger, so it survives a restart; the rungs of Ray's own schedulers do not.
"""

from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune.searcher import TrialSource


class PrunerScheduler(FIFOScheduler):
    """Passes every report to the searcher and stops the trial if it says so.

    Tune calls the scheduler before the searcher, and no longer calls the searcher once a trial is stopped;
    so the report is handed over here.
    """

    def __init__(self, source: TrialSource) -> None:
        super().__init__()
        self.source = source

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept whatever Tune passes on."""
        del metric, mode, spec
        return True

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Return CONTINUE or STOP."""
        del tune_controller
        stop = self.source.on_report(trial.trial_id, result)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)
