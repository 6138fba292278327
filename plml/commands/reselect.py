"""``plml reselect``: what every criterion would have picked among finished runs, and what that is worth on test."""

import argparse
import json
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from plml.checkpoint import write_text
from plml.cli import DONE
from plml.errors import ConfigError, DataError, nearest
from plml.reselection import Reselection, reselect
from plml.reselection_tables import Summary, caption, cells, csv_text, headings, records, remarks, summarise
from plml.stored_runs import find_run_folders

NAMES = ("map", "known_map", "corrected_ap", "pu_auc", "ap_auc", "loss", "clean")


def run(options: argparse.Namespace) -> int:
    """Compare criteria on the runs below ``options.where``.

    Raises:
        ConfigError: there is no such criterion, or it fits none of the runs.
        DataError: there is no such folder or study, or no finished run in it.
    """
    counts = [_count(name) for name in options.criterion or () if name.startswith("clean:")]
    for name in options.criterion or ():
        if name.partition(":")[0] not in NAMES:
            raise ConfigError(f"--criterion: there is no criterion '{name}'{nearest(name, NAMES)}")
    folders = find_run_folders([_folder(Path(options.output_dir), where) for where in options.where])
    found = reselect(folders, criteria=options.criterion, clean_images=counts or (200,))
    if not found.groups:
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in found.left_out[:3])
        raise DataError(
            f"{', '.join(options.where)}: no finished run with validation scores{reasons and f' ({reasons})'}"
        )
    summaries = summarise(found)
    if not any(summary.rows for summary in summaries):
        raise ConfigError(f"--criterion: {', '.join(options.criterion)} can be computed for none of these runs")
    console = Console(highlight=False, soft_wrap=True)
    if options.json == "-":
        console.print_json(json.dumps(records(found)))
    else:
        for summary in summaries:
            _show(console, summary)
        _tell_left_out(console, found)
    if options.json and options.json != "-":
        write_text(Path(options.json), json.dumps(records(found), indent=1) + "\n")
    if options.csv:
        write_text(Path(options.csv), csv_text(found))
    return DONE


def _count(name: str) -> int:
    count = name.partition(":")[2]
    if not count.isdecimal() or int(count) == 0:
        raise ConfigError(f"--criterion: clean:N needs a number of images >= 1, got '{name}'")
    return int(count)


def _folder(output: Path, where: str) -> Path:
    """Return the folder that ``where`` names: a folder, or a study's name in the output folder."""
    for folder in (Path(where), output / where):
        if folder.is_dir():
            return folder
    names = {found.parent.name for holds in ("study.yaml", "trials") for found in output.glob(f"*/{holds}")}
    raise DataError(f"'{where}' is neither a folder nor a study in {output}{nearest(where, names)}")


def _show(console: Console, summary: Summary) -> None:
    figures = (Column(name, justify="right", min_width=5) for name in headings()[1:])
    table = Table(Column(headings()[0], no_wrap=True), *figures, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in summary.rows:
        table.add_row(*cells(row))
    console.print(f"{summary.setting}\n{caption(summary)}")
    console.print(table)
    for row in summary.rows:
        console.print(f"{row.criterion} picks {', '.join(row.picked)}")
    for remark in remarks(summary):
        console.print(remark)
    console.print()


def _tell_left_out(console: Console, found: Reselection) -> None:
    reasons: dict[str, int] = {}
    for _, reason in found.left_out:
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        console.print(f"{count} {'run' if count == 1 else 'runs'} left out: {reason}")
