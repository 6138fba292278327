"""A pruner that waits: it stops a trial, or lets another pruner decide, only after epochs without improvement.

Optuna's own PatientPruner compares raw values; on running bests, which never get worse, it never prunes.
"""

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class PatiencePruner(BasePruner):
    """Prune when the best value is as old as ``patience`` reports.

    Args:
        wrapped: decides once patience has run out; None: the trial is stopped.
        patience: reports without improvement that are tolerated, at least 1.
        min_epochs: no trial is stopped before this step.
    """

    def __init__(self, wrapped: BasePruner | None, *, patience: int, min_epochs: int = 1) -> None:
        self.wrapped, self.patience, self.min_epochs = wrapped, patience, min_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should stop now."""
        steps = sorted(trial.intermediate_values)
        if len(steps) <= self.patience or steps[-1] < self.min_epochs:
            return False
        best = min if study.direction == StudyDirection.MINIMIZE else max
        values = [trial.intermediate_values[step] for step in steps]
        improved = best(values) != best(values[: -self.patience])
        if improved:
            return False
        return True if self.wrapped is None else self.wrapped.prune(study, trial)
