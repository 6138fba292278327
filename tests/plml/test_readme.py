"""Generated tables in README and docs are those of the registries, and the files they link to exist."""

import re
from pathlib import Path

import pytest

from plml.commands.readme import FILES, PAGES_WITH_FILES, TABLES, filled, included
from plml.methods import METHODS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_tables_are_up_to_date(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert filled(text) == text, "run python -m plml.commands.readme"


@pytest.mark.parametrize("file", PAGES_WITH_FILES, ids=lambda file: file.name)
def test_files_in_pages_are_up_to_date(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "<!-- file: " in text
    assert included(text) == text, "run python -m plml.commands.readme"


def test_every_table_has_a_place() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in FILES)
    for name in TABLES:
        assert f"<!-- table: {name} -->" in text
    for name in METHODS:
        assert len(re.findall(rf"^\| \[`{name}`\]", text, re.MULTILINE)) == 2  # in README and in docs/methods.md


def test_links_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
