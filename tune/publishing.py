"""What a study concludes, in words and on its MLflow pages."""

import json
from typing import TYPE_CHECKING

from plml.config import TrainConfig
from plml.tracking_view import log10_name, method_colors
from tune.averages import Average, averages
from tune.invocation import usage
from tune.standings import Leaderboard, Row, read_result, short

if TYPE_CHECKING:
    from plml.tracking import Tracker

NOTE_ROWS = 25
CLEAN_NOTE = (
    "**Chosen by clean validation labels**, which a partial label setting does not have: figures to compare with "
    "papers that do the same, not what the setting itself would have chosen."
)
CORRECTION_CURVES = (
    "diagnosis/loss_false_negatives",
    "diagnosis/loss_true_negatives",
    "diagnosis/pseudo_positive_precision",
    "diagnosis/pseudo_positive_recall",
    "diagnosis/pseudo_negative_precision",
    "diagnosis/pseudo_negative_recall",
)
MAX_AXES = 8  # of MLflow's parallel coordinates; more cannot be read


def conclusion(board: Leaderboard) -> str:
    """Return which method is best, by how much, and by which labels that was decided."""
    best = board.best
    if best is None:
        return "No trial has trained to its end yet."
    text = (
        f"**{best.method}** is best: {board.metric} {_figure(best.objective)} in trial {best.key}; "
        f"epochs were chosen by {best.selected_by} of the validation part."
    )
    if best.test_map is not None:
        text += f" Its test mAP is {best.test_map:.2f}."
    others = board.best_of_each[1:]
    if others:
        second = others[0]
        lead = abs((best.objective or 0.0) - (second.objective or 0.0))
        text += f" The next method is **{second.method}** ({_figure(second.objective)}, {lead:.2f} points behind)"
        if best.test_map is not None and second.test_map is not None:
            difference = best.test_map - second.test_map
            text += f"; on test the difference is {difference:+.2f} points ({second.test_map:.2f})"
        text += "."
    if best.seeds == 1:
        text += (
            " Each configuration was trained with one seed: before a claim, repeat the best ones with "
            f"`{usage('tune/promote.py')} --study {board.study}`."
        )
    return text


def notes(board: Leaderboard) -> str:
    """Return conclusion and tables in Markdown."""
    parts = [f"# Study {board.study}"]
    if means := averages(board):
        parts += ["## Mean over the label settings", _means_table(board, means), "## The best single trial"]
    parts.append(conclusion(board))
    if board.chosen_by_clean_labels:
        parts.append(CLEAN_NOTE)
    if board.best_of_each:
        parts += ["## Best of each method", _table(board, board.best_of_each)]
        parts += ["## All complete trials", _table(board, board.ranked[:NOTE_ROWS])]
    ended = len(board.rows) - len(board.ranked)
    parts.append(
        f"{len(board.ranked)} of {len(board.rows)} trials trained to their end, {ended} did not. Test labels chose "
        "nothing. Every trial with every figure stands in `leaderboard.csv`; `best.yaml` repeats the best one."
    )
    return "\n\n".join(parts) + "\n"


def _table(board: Leaderboard, rows: list[Row]) -> str:
    paths = [path for path in board.varied if any(path in row.values for row in rows)]
    head = ["rank", "trial", "method", board.metric, "val mAP", "test mAP", *paths]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [str(board.ranked.index(row) + 1), row.key, row.method, _figure(row.objective)]
        cells += [_figure(row.val_map), _figure(row.test_map)]
        cells += [short(row.values.get(path)).replace("|", "\\|") for path in paths]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _means_table(board: Leaderboard, means: list[Average]) -> str:
    """One line a configuration; a mean over fewer settings than the study has is no rank."""
    paths = [path for path in board.varied if any(path in mean.values for mean in means)]
    head = ["rank", "method", f"mean {board.metric}", "mean test mAP", "settings", *paths]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for rank, mean in enumerate(means[:NOTE_ROWS], start=1):
        cells = [str(rank) if mean.complete else "-", mean.method, _figure(mean.objective), _figure(mean.test_map)]
        cells += [f"{len(mean.rows)} of {mean.settings}"]
        cells += [short(mean.values.get(path)).replace("|", "\\|") for path in paths]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def parallel_axes(board: Leaderboard) -> list[str]:
    """Return MLflow's names of the parameters that every trial has and that vary, logarithms where possible."""
    axes = ["Method"] if len(board.methods) > 1 else []
    for path in board.varied:
        values = [row.values.get(path) for row in board.rows]
        if any(value is None for value in values):
            continue
        positive = all(isinstance(value, int | float) and value > 0 for value in values)
        axes.append(log10_name(path) if path in board.log_paths and positive else path)
    return axes[:MAX_AXES]


def contour_axes(board: Leaderboard) -> tuple[str, str] | None:
    """Return two numeric axes to draw a contour over, those on a log scale first; None if there are not two."""
    numeric = [
        name
        for name in parallel_axes(board)
        if name != "Method" and _is_numeric(board, name.removeprefix(log10_name("")))
    ]
    numeric.sort(key=lambda name: not name.startswith(log10_name("")))
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def _is_numeric(board: Leaderboard, path: str) -> bool:
    values = [row.values.get(path) for row in board.rows]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def correction_curves(board: Leaderboard) -> list[str]:
    """Return the diagnostics of label correction that some trial has, in reading order."""
    known = set().union(*(row.metrics for row in board.rows))
    return [name for name in CORRECTION_CURVES if name in known]


def publish(board: Leaderboard, tracker: "Tracker", run_id: str) -> None:
    """Store notes, files and figures with the study's run, colour the trials' runs by method, set up the pages.

    Raises:
        TrackingError: the store does not take it.
    """
    stamp = {"plml.selection_clean": str(board.chosen_by_clean_labels).lower()}
    tracker.set_tags(run_id, {"mlflow.note.content": notes(board)[:8000], **stamp})
    for file in (board.csv_file, board.notes_file, board.best_file):
        if file is not None and file.is_file():
            tracker.log_artifact(run_id, file)
    for figure in board.figures:
        tracker.log_artifact(run_id, figure, "figures")
    experiment = tracker.experiment_of(run_id)
    _mark_runs(board, tracker, experiment)
    tracker.publish_view(
        experiment,
        metric=board.metric,
        maximize=board.maximize,
        axes=parallel_axes(board) or ["Method"],
        columns=["Method", *board.varied],
        contour=contour_axes(board),
        curves=correction_curves(board),
    )


def _mark_runs(board: Leaderboard, tracker: "Tracker", experiment: str) -> None:
    """Colour every trial's run by method and attach its data set; runs that have both are left alone."""
    colors, digests, known = method_colors(board.methods), data_digests(board), tracker.run_tags(experiment)
    for row in board.rows:
        digest = digests.get(data_of(row.config), "") if row.config is not None else ""
        tags = {"mlflow.runColor": colors[row.method]} | ({"plml.data": digest[:16]} if digest else {})
        if row.config is not None:
            tags["plml.selection_clean"] = str(row.chosen_by_clean_labels).lower()
        if row.mlflow_run_id not in known or tags.items() <= known[row.mlflow_run_id].items():
            continue
        if row.config is not None and digest:
            data = row.config.data
            tracker.log_dataset(
                row.mlflow_run_id,
                name=data.name,
                digest=digest,
                setting=data.observation["name"],
                source=data.root or "",
            )
        tracker.set_tags(row.mlflow_run_id, tags)


def data_digests(board: Leaderboard) -> dict[str, str]:
    """Return ``{data configuration: digest of examples and labels}``, as the complete trials found them."""
    digests = {}
    for row in board.ranked:
        if row.config is not None and (result := read_result(row.run_folder)):
            digests[data_of(row.config)] = str(result["data_digest"])
    return digests


def data_of(config: TrainConfig) -> str:
    """Return the part of a configuration that says what is learned from, as text."""
    return json.dumps(config.tree()["data"], sort_keys=True)


def best_runs(board: Leaderboard) -> list[str]:
    """Return the MLflow runs of the best trial of each method, for the compare page."""
    return [row.mlflow_run_id for row in board.best_of_each if row.mlflow_run_id is not None]
