"""A comparison in words and tables for the terminal, and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plml.compare.differences import (
    ABSENT,
    ImageInterval,
    Row,
    class_rows,
    config_rows,
    figure_rows,
    image_intervals,
    show,
    stamp_rows,
    warnings,
)
from plml.compare.runs import ComparedRun

ONE_RUN_EACH = (
    "One run each: what another seed or another draw of the observed labels would change is not in these figures. "
    "Repeat configurations before a claim, by a promotion or a grid."
)


@dataclass(frozen=True)
class Comparison:
    """Everything that is said of several runs.

    Attributes:
        runs: the first one is what the others are compared with.
        warnings: why they should not be compared, or only with care.
        stamps: method, data, setting, what chose the epoch.
        config: paths of the configuration that differ.
        figures: of the chosen epochs, and of test.
        classes: average precision by class.
        intervals: of the differences of test mAP to the first run, by other run.
    """

    runs: Sequence[ComparedRun]
    warnings: Sequence[str]
    stamps: Sequence[Row]
    config: Sequence[Row]
    figures: Sequence[Row]
    classes: Sequence[Row]
    intervals: Sequence[ImageInterval | None]

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it; rows as ``{name: [value of each run]}``."""
        tables = {"config": self.config, "figures": self.figures, "test_ap_by_class": self.classes}
        return {
            "runs": [{"name": run.name, "folder": str(run.folder)} for run in self.runs],
            "warnings": list(self.warnings),
            **{name: {row.name: list(row.values) for row in rows} for name, rows in tables.items()},
            "test_map_difference_95": [None if i is None else [i.difference, i.low, i.high] for i in self.intervals],
        }


def compare(runs: Sequence[ComparedRun]) -> Comparison:
    """Compare runs with the first of them."""
    return Comparison(
        runs,
        warnings(runs),
        stamp_rows(runs),
        config_rows(runs),
        figure_rows(runs),
        class_rows(runs),
        image_intervals(runs),
    )


def print_comparison(comparison: Comparison, console: Console, *, classes: int) -> None:
    """Print tables: what was trained, what differs, figures, and the classes that differ most.

    Args:
        comparison: is printed.
        console: where.
        classes: most classes that are shown.
    """
    runs = comparison.runs
    for line in comparison.warnings:
        console.print(f"warning   {line}", style="yellow", markup=False, soft_wrap=True)
    console.print(_words("", runs, comparison.stamps))
    console.print(_words("configuration", runs, comparison.config) if comparison.config else "configurations are equal")
    short = ("test/", "selection/")  # the page has the rest of validation, too
    figures = [row for row in comparison.figures if row.name.startswith(short) or row.name.endswith("mAP")]
    console.print(_numbers("figure", runs, figures))
    for place, found in enumerate(comparison.intervals, start=1):
        console.print(interval_text(runs, place, found), markup=False, soft_wrap=True)
    if shown := widest(comparison.classes, classes):
        console.print(_numbers("test AP", runs, shown))
        if len(shown) < len(comparison.classes):
            console.print(f"{len(shown)} of {len(comparison.classes)} classes, those that differ most (--classes)")
    console.print(ONE_RUN_EACH, style="dim", soft_wrap=True)


def widest(rows: Sequence[Row], number: int) -> list[Row]:
    """Return the rows that differ most, in the order that they have."""
    kept = sorted(rows, key=lambda row: -row.spread)[:number]
    return [row for row in rows if row in kept]


def interval_text(runs: Sequence[ComparedRun], place: int, found: ImageInterval | None) -> str:
    """Say what test images alone leave open of a run's difference to the first."""
    first, other = runs[0].name, runs[place].name
    if found is None:
        return f"{other} less {first}: no interval, because the two do not have scores of the same test images"
    verdict = "includes" if found.low <= 0 <= found.high else "excludes"
    return (
        f"{other} less {first}: test mAP {found.difference:+.2f}, 95 % interval over test images "
        f"{found.low:+.2f} to {found.high:+.2f} (paired bootstrap, {verdict} 0)"
    )


def _table(title: str, runs: Sequence[ComparedRun], justify: Any) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column(title)
    for run in runs:
        table.add_column(escape(run.name), justify=justify, overflow="fold")
    return table


def _words(title: str, runs: Sequence[ComparedRun], rows: Sequence[Row]) -> Table:
    table = _table(title, runs, "left")
    for row in rows:
        table.add_row(escape(row.name), *(escape(show(value)) for value in row.values))
    table.add_row()
    return table


def _numbers(title: str, runs: Sequence[ComparedRun], rows: Sequence[Row]) -> Table:
    table = _table(title, runs, "right")
    for row in rows:
        cells = []
        for place, value in enumerate(row.values):
            difference = row.difference(place) if place else None
            told = ABSENT if value is None else f"{value:.2f}"
            cells.append(told if difference is None else f"{told}  {difference:+6.2f}")
        table.add_row(escape(row.name), *cells)
    table.add_row()
    return table
