"""A compact table of what selection criteria are worth, from the ``criteria.csv`` of grids."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from plml.errors import DataError

FIGURES = {  # column: whether more is better, digits after the point
    "run_tau": (True, 2),
    "epoch_tau": (True, 2),
    "regret": (False, 1),
    "method_regret": (False, 1),
}
NEEDED = ("setting", "draws", "runs", "images", "criterion", "forbidden", *FIGURES)

Line = Mapping[str, str]


def criteria_tables(files: Sequence[Path]) -> str:
    """Return for every file a caption and a Markdown table: criteria by settings, the best allowed figures bold.

    Raises:
        DataError: a file is no table of criteria.
    """
    legend = (
        "A cell: Kendall's tau with test mAP over runs / over epochs / regret in mAP points / regret in a method.\n"
        "Bold: the best that is allowed. *forbidden*: looks at what the setting does not provide."
    )
    return "\n\n".join([legend, *(_table(file) for file in files)])


def _table(file: Path) -> str:
    lines = _read(file)
    settings = list(dict.fromkeys(line["setting"] for line in lines))
    found = {(line["criterion"], line["setting"]): line for line in lines}
    forbidden = {line["criterion"] for line in lines if line["forbidden"] == "True"}
    names = list(dict.fromkeys(line["criterion"] for line in lines))
    names.sort(key=lambda name: name in forbidden)
    best = {
        (setting, figure): _best([line for line in lines if line["setting"] == setting], figure, more)
        for setting in settings
        for figure, (more, _) in FIGURES.items()
    }
    rows = [["criterion", *(_setting(setting) for setting in settings)], ["---"] * (len(settings) + 1)]
    for name in names:
        cells = [_cell(found.get((name, setting)), setting, best) for setting in settings]
        rows.append([f"`{name}`{' *forbidden*' if name in forbidden else ''}", *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_caption(lines)}\n\n{table}"


def _read(file: Path) -> Sequence[Line]:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text)
            columns, lines = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    missing = [name for name in NEEDED if name not in columns]
    if missing or not lines:
        raise DataError(f"{file}: no table of criteria: {f'there is no column {missing[0]}' if missing else 'empty'}")
    return lines


def _caption(lines: Sequence[Line]) -> str:
    """Say what was compared."""
    of_setting = {line["setting"]: line for line in lines}.values()
    data = sorted({line["setting"].partition(",")[0] for line in of_setting})
    images = " or ".join(sorted({line["images"] for line in of_setting}, key=int))
    draws = " or ".join(sorted({line["draws"] for line in of_setting}, key=int))
    runs = sum(int(line["runs"]) for line in of_setting)
    return f"{', '.join(data)}, {images} validation images, {runs} runs, {draws} label draws a setting:"


def _setting(text: str) -> str:
    """``voc2007, candidate_set {"rate": 0.2}`` as "`candidate_set` rate 0.2"; the data set is in the caption."""
    name, _, told = text.partition(", ")[2].partition(" ")
    options = {key: value for key, value in json.loads(told or "{}").items() if value is not None}
    return " ".join([f"`{name}`", *(f"{key} {value}" for key, value in options.items())])


def _best(lines: Sequence[Line], figure: str, more: bool) -> float | None:
    """Return the best figure, as it is shown, of a criterion that is allowed."""
    digits = FIGURES[figure][1]
    values = [round(float(line[figure]), digits) for line in lines if line["forbidden"] != "True" and line[figure]]
    return (max(values) if more else min(values)) if values else None


def _cell(line: Line | None, setting: str, best: Mapping[tuple[str, str], float | None]) -> str:
    if line is None:
        return ""
    shown = []
    for figure, (_, digits) in FIGURES.items():
        if not line[figure]:
            shown.append("?")
            continue
        value = round(float(line[figure]), digits)
        text = f"{value + 0.0:.{digits}f}"
        is_best = line["forbidden"] != "True" and value == best[setting, figure]
        shown.append(f"**{text}**" if is_best else text)
    return " / ".join(shown)
