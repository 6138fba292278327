"""Tables in README.md and docs that follow from the registries; ``python -m plml.commands.readme`` writes them anew.

With ``--criteria FILE.csv [FILE.csv ...]``, tables that grids left behind, it writes the selection study instead.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plml.auxiliary import AUXILIARIES
from plml.commands.criteria_table import criteria_tables
from plml.commands.listing import auxiliary_rows, dataset_rows, head_rows, method_rows, range_text, setting_rows
from plml.commands.markdown_table import markdown
from plml.commands.method_page import filled_page
from plml.methods import METHODS
from plml.observation import OBSERVATIONS
from plml.recipe import read_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[2]
FILES = tuple(ROOT / name for name in ("README.md", "docs/methods.md", "docs/recipes.md"))
PAGES_WITH_FILES = (ROOT / "docs" / "new_method.md",)
METHOD_PAGES = tuple(ROOT / "docs" / "methods" / f"{name}.md" for name in sorted(METHODS))
MEASURED = ROOT / "docs" / "measured.md"


def method_names_table() -> str:
    """Return the Markdown table of all methods: name and what it is."""
    rows = [[f"[`{name}`](docs/methods/{name}.md)", first_line(METHODS[name])] for name in sorted(METHODS)]
    return markdown(["method", "what it is"], rows)


def methods_table() -> str:
    """Return the Markdown table of all methods: name, searched hyperparameters, settings it refuses, paper."""
    rows = []
    for row in method_rows():
        file = f"methods/{row['name']}.md"
        refused = ", ".join(sorted(set(OBSERVATIONS) - set(row["settings"])))
        rows.append(
            [f"[`{row['name']}`]({file})", searched(row), refused or "none", ", ".join(row["modes"]), row["paper"]]
        )
    return markdown(["method", "searched, with its range", "settings it refuses", "modes", "paper"], rows)


def auxiliaries_table() -> str:
    """Return the Markdown table of the auxiliary losses."""
    rows = [
        [f"[`{row['name']}`](../plml/auxiliary/{row['name']}.py)", first_line(AUXILIARIES[row["name"]]), searched(row)]
        for row in auxiliary_rows()
    ]
    return markdown(["`auxiliary.name`", "what it is", "searched, with its range"], rows)


def heads_table() -> str:
    """Return the Markdown table of the heads."""
    rows = [[f"`{row['name']}`", row["summary"], options_text(row), row["from"]] for row in head_rows()]
    return markdown(["`model.head.name`", "what it is", "options (default)", "source"], rows)


def recipes_table() -> str:
    """Return the Markdown table of all recipes: title, variants with published figures, paper."""
    rows = []
    for name in recipe_names():
        recipe = read_recipe(name)
        variants = []
        for variant, content in recipe.variants.items():
            figures = ", ".join(f"{number.value} ({number.status})" for number in content.published)
            variants.append(f"`{variant}` {figures}".strip())
        rows.append([f"`{name}`", recipe.title, "<br>".join(variants)])
    return markdown(["recipe", "what it is", "variants and published test mAP"], rows)


def first_line(kind: type) -> str:
    """Return the first line of the docstring of the module that defines ``kind``."""
    return (sys.modules[kind.__module__].__doc__ or "").strip().partition("\n")[0]


def searched(row: dict[str, Any]) -> str:
    """Return the search space of a listed method in words."""
    return ", ".join(f"`{key}` {range_text(entry)}" for key, entry in row["search_space"].items()) or "none"


def options_text(row: dict[str, Any]) -> str:
    """Return options with their defaults."""
    return ", ".join(f"`{key}` ({value})" for key, value in row["options"].items()) or "none"


def settings_table() -> str:
    """Return the Markdown table of all label settings."""
    rows = []
    for row in setting_rows():
        reveals = " and ".join(row["reveals"]) or "nothing"
        rows.append([f"`{row['name']}`", reveals, options_text(row), row["source"]])
    return markdown(["`data.observation`", "reveals", "options (default)", "source"], rows)


def datasets_table() -> str:
    """Return the Markdown table of all data sets."""
    rows = [[f"`{row['name']}`", row["summary"], options_text(row)] for row in dataset_rows()]
    return markdown(["`data.name`", "what it is", "`data.options` (default)"], rows)


TABLES = {
    "method names": method_names_table,
    "methods": methods_table,
    "auxiliaries": auxiliaries_table,
    "heads": heads_table,
    "settings": settings_table,
    "datasets": datasets_table,
    "recipes": recipes_table,
}


STUDY_FILES = (ROOT / "README.md", ROOT / "docs" / "selection.md")


def filled(text: str) -> str:
    """Return ``text`` with every ``<!-- table: NAME -->`` block rewritten from the registries."""
    for name, build in TABLES.items():
        text = replaced(text, name, build)
    return text


def included(text: str) -> str:
    """Return ``text`` with every ``<!-- file: PATH -->`` block filled with that Python file of the repository."""
    block = re.compile(r"(<!-- file: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(
        lambda match: f"{match[1]}```python\n{(ROOT / match[2]).read_text(encoding='utf-8')}```\n{match[3]}", text
    )


def replaced(text: str, name: str, build: Callable[[], str]) -> str:
    """Return ``text`` with the block ``<!-- table: name -->`` filled anew, if it has one."""
    block = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: f"{match[1]}{build()}\n{match[2]}", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables.

    Raises:
        DataError: a file given is no table of criteria.
    """
    parser = argparse.ArgumentParser(prog="python -m plml.commands.readme", description=__doc__)
    parser.add_argument("--criteria", nargs="+", type=Path, metavar="FILE.csv", help="criteria.csv of grids")
    options = parser.parse_args(arguments)
    if options.criteria:
        tables = criteria_tables(options.criteria)
        for file in STUDY_FILES:
            file.write_text(
                replaced(file.read_text(encoding="utf-8"), "selection study", lambda: tables), encoding="utf-8"
            )
        return
    for file in FILES:
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")
    for file in PAGES_WITH_FILES:
        file.write_text(included(file.read_text(encoding="utf-8")), encoding="utf-8")
    measured = MEASURED.read_text(encoding="utf-8")
    for file in METHOD_PAGES:
        file.write_text(filled_page(file.stem, file.read_text(encoding="utf-8"), measured), encoding="utf-8")


if __name__ == "__main__":
    main()
