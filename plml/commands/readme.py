"""The tables of README.md that follow from the registries; ``python -m plml.commands.readme`` writes them anew."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from plml.commands.listing import dataset_rows, method_rows, range_text, setting_rows
from plml.methods import METHODS

README = Path(__file__).resolve().parents[2] / "README.md"


def methods_table() -> str:
    """Return the Markdown table of all methods: name, what it is, searched hyperparameters, paper."""
    rows = []
    for row in method_rows():
        method = METHODS[row["name"]]
        file = f"plml/methods/{method.__module__.rpartition('.')[2]}.py"
        summary = (sys.modules[method.__module__].__doc__ or "").strip().partition("\n")[0]
        searched = ", ".join(f"`{key}` {range_text(entry)}" for key, entry in row["search_space"].items())
        rows.append([f"[`{row['name']}`]({file})", summary, searched or "none", row["paper"]])
    return markdown(["method", "what it is", "searched, with its range", "paper"], rows)


def settings_table() -> str:
    """Return the Markdown table of all label settings."""
    rows = []
    for row in setting_rows():
        options = ", ".join(f"`{key}` ({value})" for key, value in row["options"].items())
        rows.append([f"`{row['name']}`", " and ".join(row["reveals"]) or "nothing", options or "none", row["source"]])
    return markdown(["`data.observation`", "reveals", "options (default)", "source"], rows)


def datasets_table() -> str:
    """Return the Markdown table of all data sets."""
    rows = []
    for row in dataset_rows():
        options = ", ".join(f"`{key}` ({value})" for key, value in row["options"].items())
        rows.append([f"`{row['name']}`", row["summary"], options or "none"])
    return markdown(["`data.name`", "what it is", "`data.options` (default)"], rows)


TABLES = {"methods": methods_table, "settings": settings_table, "datasets": datasets_table}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def filled(text: str) -> str:
    """Return ``text`` with every ``<!-- table: NAME -->`` block rewritten from the registries."""
    for name, build in TABLES.items():
        block = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = block.sub(lambda match, build=build: f"{match[1]}{build()}\n{match[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
