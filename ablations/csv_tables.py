"""``cells.csv`` and ``runs.csv``: every number with all its digits."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from ablations.comparison import Interval
from ablations.summary import GridSummary


def cells_csv(summary: GridSummary) -> str:
    """Return one line a cell; intervals as two columns, nothing where there is no number."""
    outcome = summary.outcome
    tuned = sorted({path for cell in outcome.cells for path in cell.values or {}})
    head = ["cell", *outcome.factors, "baseline", "place", "n", "planned", "seeds", "draws", "mean", "std"]
    head += ["interval_low", "interval_high", "bootstrap_low", "bootstrap_high", "images_low", "images_high"]
    head += ["difference", "pairs", "difference_low", "difference_high"]
    head += ["difference_images_low", "difference_images_high", "p", "p_holm", "significant"]
    rows = []
    for cell, raw in zip(summary.cells, outcome.cells, strict=True):
        row: list[Any] = [cell.label, *(cell.levels.get(name) for name in outcome.factors), int(cell.baseline)]
        row += [cell.place, cell.n, cell.planned, cell.seeds, cell.draws, cell.mean, cell.std]
        row += [*_two(cell.interval), *_two(cell.bootstrap), *_two(cell.images)]
        d = cell.difference
        row += (
            [None] * 9
            if d is None
            else [d.mean, d.n, *_two(d.interval), *_two(d.images), d.p, d.p_holm, int(d.significant)]
        )
        rows.append([*row, *((raw.values or {}).get(path) for path in tuned)])
    return _csv(
        [*head, "test", "selected_by", *tuned],
        ([*row[: len(head)], summary.test, outcome.selected_by, *row[len(head) :]] for row in rows),
    )


def runs_csv(summary: GridSummary) -> str:
    """Return one line a run: cell, seed, label draw, all its figures."""
    outcome = summary.outcome
    names = sorted({name for cell in outcome.cells for run in cell.runs for name in run.metrics})
    head = ["cell", *outcome.factors, "seed", "label_draw", "best_epoch", *names, "fingerprint", "folder"]
    return _csv(
        head,
        (
            [
                *(cell.label, *(cell.levels.get(name) for name in outcome.factors), run.seed, run.label_draw),
                *(run.best_epoch, *(run.metrics.get(name) for name in names), run.fingerprint, str(run.folder)),
            ]
            for cell in outcome.cells
            for run in cell.runs
        ),
    )


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_shown(value) for value in row] for row in rows)
    return text.getvalue()


def _shown(value: Any) -> str:
    return "" if value is None else repr(float(value)) if isinstance(value, float) else str(value)


def _two(interval: Interval | None) -> Interval | tuple[None, None]:
    return (None, None) if interval is None else interval
