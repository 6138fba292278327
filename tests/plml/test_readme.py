"""README's generated tables are those of the registries, and the files and study keys it names exist."""

import re
from pathlib import Path

from plml.commands.readme import README, filled

ROOT = Path(__file__).parents[2]


def test_tables_are_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "run python -m plml.commands.readme"
    assert text.count("| [`") >= 8  # a table of methods is there at all


def test_links_lead_somewhere() -> None:
    for page in (README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
