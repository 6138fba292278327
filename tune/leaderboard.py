"""Which configuration won, by what, and what else was tried: the table, the CSV and ``best.yaml`` of a study."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna import Study
from rich import box
from rich.markup import escape
from rich.table import Table

from plml.checkpoint import write_text
from plml.config import dump_config
from tune.figures import draw_figures
from tune.publishing import notes, publish
from tune.standings import Leaderboard, Row, read_leaderboard, read_result, short

if TYPE_CHECKING:
    from plml.tracking import Tracker

TABLE_ROWS = 20


def write_leaderboard(
    study: Study, folder: Path, *, tracker: "Tracker | None" = None, run_id: str | None = None
) -> Leaderboard:
    """Write ``leaderboard.csv``, ``leaderboard.md``, ``best.yaml`` and ``figures/`` into the study's folder.

    Args:
        study: the ledger.
        folder: the study's folder.
        tracker: with ``run_id``: where everything is stored as well, see :func:`tune.publishing.publish`.
        run_id: the study's summary run.

    Raises:
        TrackingError: the store does not take it; the files are written by then.
    """
    board = read_leaderboard(study, folder)
    board = replace(board, figures=tuple(draw_figures(board, folder / "figures")))
    write_text(board.csv_file, to_csv(board))
    write_text(board.notes_file, notes(board))
    if board.best_file is not None and (text := best_yaml(board)):
        write_text(board.best_file, text)
    if tracker is not None and run_id is not None:
        publish(board, tracker, run_id)
    return board


def to_csv(board: Leaderboard) -> str:
    """Return one line a trial: rank, state, every figure of the last report, every key of the configuration."""
    flats = [{**row.values, **(row.config.flat() if row.config else {})} for row in board.rows]
    figures = sorted({name for row in board.rows for name in row.metrics})
    paths = sorted({path for flat in flats for path in flat})
    head = ["rank", "key", "state", "reason", "method", "objective", "selected_by", "best_epoch"]
    head += ["best_epoch_val_mAP", "seeds"]
    tail = ["fingerprint", "mlflow_run_id", "run_folder"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *figures, *paths, *tail])
    for rank, (row, flat) in enumerate(zip(board.rows, flats, strict=True), start=1):
        first = [rank if row.state == "COMPLETE" else "", row.key, row.state, row.reason, row.method]
        first += [_cell(row.objective), row.selected_by, _cell(row.best_epoch), _cell(row.val_map), row.seeds]
        last = [row.config.fingerprint if row.config else "", row.mlflow_run_id or "", str(row.run_folder)]
        middle = [_cell(row.metrics.get(name)) for name in figures] + [_cell(flat.get(path)) for path in paths]
        writer.writerow([*first, *middle, *last])
    return text.getvalue()


def _cell(value: Any) -> str:
    """Numbers with all their digits, nothing for None, JSON for lists and truth values."""
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else json.dumps(value)


def best_yaml(board: Leaderboard) -> str:
    """Return the winner's resolved configuration with a head that says what it is and what it must give again."""
    row = board.best
    if row is None or row.config is None:
        return ""
    lines = [
        f"best configuration of study '{board.study}': trial {row.key}, method {row.method}",
        f"chosen by {board.metric} = {row.objective!r}; epoch chosen by {row.selected_by}",
        "to train it again: plml train best.yaml",
    ]
    if row.seeds > 1:
        lines.append(f"the figures above are means over {row.seeds} seeds; below stands the first, {row.config.seed}")
    again = _result_map(row)
    if again is not None:
        lines.append(f"which gives, on the same machine: test mAP {again!r}")
    return "".join(f"# {line}\n" for line in lines) + dump_config(row.config)


def _result_map(row: Row) -> float | None:
    """Test mAP of the run whose configuration is written, which is one seed's where there are several."""
    result = read_result(row.run_folder)
    return result["metrics"].get("test/mAP") if result else row.test_map


# -- the table in the terminal ----------------------------------------------------------------------------


def render(board: Leaderboard, limit: int = TABLE_ROWS) -> Table:
    """Return the table that is printed at the end: the first ``limit`` trials, columns that do not vary left out."""
    best_runs = {row.key for row in board.best_of_each}
    chosen = f" and are chosen by {board.best.selected_by}" if board.best else ""
    title = f"{board.study}: {len(board.ranked)} complete of {len(board.rows)} trials"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("rank", "trial", "method"):
        table.add_column(name, justify="right" if name == "rank" else "left")
    for name in (board.metric.removeprefix("selection/"), "epoch", "val mAP", "test mAP"):
        table.add_column(name, justify="right")
    shown = _shown_rows(board, limit)
    paths = [path for path in board.varied if len({repr(row.values.get(path)) for row in shown}) > 1]
    for path in paths:
        name = path.removeprefix("optim.").removeprefix("method.")
        values = [row.values.get(path) for row in shown]
        # Where there is little room names are folded, and long texts; numbers are not.
        width = max((len(short(value)) for value in values if isinstance(value, int | float)), default=None)
        table.add_column(name, justify="right", overflow="fold", min_width=width)
    table.add_column("state")
    for place, row in enumerate(shown, start=1):
        complete = row.state == "COMPLETE"
        figures = [row.objective, row.val_map, row.test_map]
        objective, val, test = ("-" if figure is None else f"{figure:.2f}" for figure in figures)
        epoch = "-" if row.best_epoch is None else str(row.best_epoch)
        state = row.state.lower() + (f" ({row.reason})" if row.reason not in ("", row.state.lower()) else "")
        rank = str(board.ranked.index(row) + 1) if complete else ""
        cells = [rank, row.key, row.method, objective, epoch, val, test, *(short(row.values.get(p)) for p in paths)]
        style = "bold" if row.key in best_runs else "" if complete else "dim"
        table.add_row(*(escape(cell) for cell in cells), state, style=style, end_section=place == len(board.ranked))
    hidden = len(board.rows) - len(shown)
    table.caption = (
        f"bold: best of each method; epochs count from 0{chosen}; test labels choose nothing"
        + ("; clean labels are more than a partial label setting has" if board.chosen_by_clean_labels else "")
        + (f"; {hidden} more in leaderboard.csv" if hidden else "")
    )
    table.caption_justify = "left"
    return table


def _shown_rows(board: Leaderboard, limit: int) -> Sequence[Row]:
    """The first ``limit`` rows, and the best of each method wherever it stands."""
    kept = list(board.rows[:limit])
    return [*kept, *(row for row in board.best_of_each if row not in kept)] if len(board.rows) > limit else kept
