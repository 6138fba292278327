"""One drive of a source of trials: run it under a progress panel, and leave nothing open however it ends."""

from pathlib import Path

from tune.execution import Plan, run_trials
from tune.orders import Book
from tune.progress import StudyProgress
from tune.stopping import Stopper
from tune.trial_source import TrialSource


def drive(
    source: TrialSource, plan: Plan, folder: Path, stopper: Stopper, progress: StudyProgress, orders: Book
) -> bool:
    """Run all trials of ``source`` on a Ray that is running.

    Args:
        source: gives trials and takes their reports.
        plan: resources.
        folder: of the study, promotion or grid; Tune's own files lie there meanwhile.
        stopper: ends the drive.
        progress: shows it.
        orders: answers to crews; removed at the end.

    Returns:
        Whether somebody or something interrupted it.
    """

    def leave() -> None:
        progress.stop()
        try:
            source.close_live()
        finally:
            orders.remove()

    try:
        with progress:
            run_trials(source, plan, folder / ".ray", stopper, leave)
    finally:
        unfinished = source.is_training
        leave()
    return stopper.reason in ("signal", "trouble") or (unfinished and stopper.reason is None)
