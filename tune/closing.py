"""The end of a launch: everything delivered to MLflow, leaderboard and figures written, the links printed."""

from typing import TYPE_CHECKING

from rich.console import Console

from tune.records import best_trials, state_of

if TYPE_CHECKING:
    from tune.folders import StudyFolder
    from tune.ledger import Ledger
    from tune.study import Study
    from tune.trial_runs import TrialRuns


def close_study(
    study: "Study", folder: "StudyFolder", ledger: "Ledger", runs: "TrialRuns", console: Console, *, interrupted: bool
) -> None:
    """Deliver what is missing, write the study's tables and figures, and end its MLflow run."""
    del study, folder
    runs.deliver()
    best = best_trials(ledger.optuna, ledger.study.config.track.top_k)
    runs.upload_best(best)
    trials = ledger.trials()
    figures = {
        f"trials/{state.lower()}": float(sum(state_of(t) == state for t in trials))
        for state in ("COMPLETE", "PRUNED", "FAILED")
    }
    if best:
        figures["objective/best"] = float(best[0].value or 0.0)
    runs.close_study("INTERRUPTED" if interrupted else "COMPLETE", [], figures)
