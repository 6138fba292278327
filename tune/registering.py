"""The best model of a study as a version of a registered model, and the checkpoints of every epoch, in MLflow."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from plml.errors import CheckpointError
from plml.tracking import Tracker
from tune.standings import Leaderboard
from tune.study_file import TrackConfig

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tune.trial_runs import TrialRuns


def register_best(board: Leaderboard, runs: "TrialRuns", track: TrackConfig, *, force: bool) -> list[str]:
    """Register the checkpoint of the best trial under ``track.register``; return what to tell the user.

    Of a trial with several seeds it is the first one's.

    Args:
        board: the standings.
        runs: of the study.
        track: what the study file asks for.
        force: move the alias whatever the figures say.
    """
    best, name = board.best, track.register_as
    if name is None:
        return []
    if best is None or best.mlflow_run_id is None:
        return [f"nothing to register as '{name}' yet: no trial has trained to its end"]
    from plml.model_candidate import Candidate
    from plml.tracking_models import Registered, register

    row, run_id = best, best.mlflow_run_id

    def add(tracker: Tracker, experiment: str) -> Registered:
        del experiment
        tags = {"plml.study": board.study, "plml.key": row.key, "plml.objective": f"{board.metric} {row.objective:.4f}"}
        candidate = Candidate.read(row.run_folder / "best.pt")
        return register(tracker, candidate, name=name, run_id=run_id, alias=track.alias, force=force, tags=tags)

    try:
        done = runs.guarded(add)
    except CheckpointError as error:
        return [f"not registered: {error}"]
    if done is None:
        return []
    lines = [f"{done.name} version {done.version}, trial {row.key}" + ("" if done.new else " (it was already)")]
    return [*lines, done.reason] if done.reason else lines


def upload_epochs(trials: "Iterable[FrozenTrial]", runs: "TrialRuns") -> None:
    """Store the checkpoint of every epoch of every trial as a logged model of the trial's run, once.

    Where trials have several seeds, those of the first one.
    """
    from plml.tracking_models import log_epoch

    for trial in trials:
        key, run = trial.user_attrs["key"], runs.run_of(trial)
        known = runs.ledger.noted(key).get("epochs", {})
        done = list(known.get("files", ())) if known.get("uri") == runs.uri else []
        for file in epoch_files(runs.folder.trial(key)):
            if run is None or file.name in done:
                continue
            try:
                stored = runs.guarded(partial(_store, log_epoch, run, file))
            except CheckpointError as error:
                runs.warn(f"checkpoints of every epoch are not stored: {error}")
                return
            if stored is None:  # MLflow does not answer; the next launch goes on here
                return
            done.append(file.name)
            runs.ledger.note(key, epochs={"uri": runs.uri, "files": done})


def epoch_files(trial_folder: Path) -> list[Path]:
    """Return the checkpoints of every epoch of a trial, or of its first seed."""
    folders = [
        trial_folder,
        *sorted(trial_folder.glob("seed_*"), key=lambda path: int(path.name.removeprefix("seed_"))),
    ]
    return next((files for folder in folders if (files := sorted(folder.glob("epochs/*.pt")))), [])


def _store(log: Callable[[Tracker, str, Path], str], run: str, file: Path, tracker: Tracker, experiment: str) -> str:
    del experiment
    return log(tracker, run, file)
