"""The end of a launch: everything delivered to MLflow, leaderboard and figures written, the links printed."""

import shlex
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from plml.terminal import Terminal
from plml.tracking import Tracker
from tune.averages import averages
from tune.invocation import plml_command
from tune.label_bias import label_bias
from tune.leaderboard import render, write_leaderboard
from tune.publishing import best_runs, publish
from tune.records import best_trials, state_of
from tune.registering import register_best, upload_epochs
from tune.standings import Leaderboard, read_leaderboard

if TYPE_CHECKING:
    from tune.ledger import Ledger
    from tune.trial_runs import TrialRuns


def close_study(
    ledger: "Ledger", runs: "TrialRuns", terminal: Terminal, *, unfinished: bool, force_alias: bool = False
) -> None:
    """Show the leaderboard, deliver what is missing, write tables and figures, and end the study's MLflow run.

    Args:
        ledger: of the study.
        runs: its MLflow runs.
        terminal: where it is told.
        unfinished: there is something left to train.
        force_alias: the alias of the registered model moves whatever the figures say.
    """
    study, folder = ledger.study, ledger.folder
    if (standings := read_leaderboard(ledger.optuna, folder.path)).rows:
        terminal.print(render(standings))
    with terminal.status("delivering to MLflow ...") as status:
        runs.drain(lambda left: status.update(f"delivering to MLflow, {left} trials left ..."))
        runs.deliver()
        status.update("writing leaderboard and figures ...")
        best = best_trials(ledger.optuna, study.config.track.top_k)
        runs.upload_best(best)
        if study.config.track.checkpoints == "every_epoch":
            status.update("storing the checkpoints of every epoch ...")
            upload_epochs(ledger.trials(), runs)
        board = write_leaderboard(ledger.optuna, folder.path)
        runs.with_study_run(lambda tracker, run: publish(board, tracker, run))
        registered = register_best(board, runs, study.config.track, force=force_alias)
        states = [state_of(trial) for trial in ledger.trials()]
        figures = {f"trials/{name.lower()}": float(states.count(name)) for name in ("COMPLETE", "PRUNED", "FAILED")}
        if best and best[0].value is not None:
            figures["objective/best"] = best[0].value
        counts = {name: states.count(name) for name in sorted(set(states))}
        runs.close_study("INTERRUPTED" if unfinished else "COMPLETE", figures)
    for line in label_bias(board):
        terminal.warn(f"warning   label bias is suspected: {line}")
    for line in registered:
        terminal.print(f"model     {escape(line)}", soft_wrap=True)
    terminal.event("result", study=study.name, states=counts, **_told(board))
    _links(board, runs.tracker if runs.experiment_id else None, runs.experiment_id, terminal)


def _told(board: Leaderboard) -> dict[str, Any]:
    """What an event says of the best trial, and where the rest stands."""
    files = {"leaderboard": board.csv_file, "best_config": board.best_file}
    best = board.best
    if best is None:
        return {"best": None, **files}
    return {
        "best": {
            "trial": best.key,
            "method": best.method,
            "objective": best.objective,
            "selected_by": best.selected_by,
            "best_epoch": best.best_epoch,
            "val_map": best.val_map,
            "test_map": best.test_map,
            "values": best.values,
            "folder": best.run_folder,
        },
        **files,
    }


def _links(board: Leaderboard, tracker: Tracker | None, experiment: str | None, terminal: Terminal) -> None:
    """What to look at next."""
    lines = [("table", str(board.csv_file))]
    if means := [mean for mean in averages(board) if mean.complete]:
        first = f"{means[0].method} {means[0].objective:.2f} over {means[0].settings} label settings"
        lines.append(("mean", f"{first}, best of {len(means)}; see {board.notes_file}"))
    if board.best_file is not None and board.best_file.is_file():
        lines.append(("best", f"{plml_command()} train {shlex.quote(str(board.best_file))}"))
    if tracker is not None and experiment is not None:
        if tracker.ui_command:
            lines.append(("MLflow", tracker.ui_command))
        lines.append(("pages" if tracker.ui_command else "MLflow", tracker.experiment_url(experiment)))
        if len(compared := best_runs(board)) > 1:
            lines.append(("compare", tracker.compare_url(experiment, compared)))
    for name, text in lines:
        last = terminal.result if name in ("table", "best") else terminal.print
        last(f"{name:8}  {escape(text)}", soft_wrap=True)
