"""What every selection criterion would have picked among the runs of a grid, and what that is worth on test."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ablations.plan import CellPlan, run_folders
from plml.checkpoint import write_text
from plml.reselection import reselect
from plml.reselection_tables import cells, csv_text, headings, markdown, remarks, summarise


def write_criteria(plans: Sequence[CellPlan], folder: Path, console: Console) -> list[Path]:
    """Apply every criterion to the finished runs, print the tables, write ``criteria.md`` and ``.csv``; return both.

    Args:
        plans: of the grid.
        folder: of the grid.
        console: where to print.
    """
    from rich.table import Column, Table

    found = reselect(run_folders(plans))
    for summary in summarise(found):
        names = headings()
        table = Table(Column(names[0], no_wrap=True), *(Column(name, justify="right") for name in names[1:]), box=None)
        for row in summary.rows:
            table.add_row(*cells(row))
        console.print(summary.setting, style="bold", markup=False)
        console.print(table)
        for remark in remarks(summary):
            console.print(remark, markup=False, soft_wrap=True)
    files = [folder / "criteria.md", folder / "criteria.csv"]
    for file, text in zip(files, (markdown(found), csv_text(found)), strict=True):
        write_text(file, text)
    return files
