"""Every method has a page with its loss, advice by hand, and parts that follow from code and measurements."""

import re
from pathlib import Path

import pytest

from plml.commands.method_page import arguments, filled_page
from plml.commands.readme import MEASURED, METHOD_PAGES
from plml.methods import METHODS

FOLDER = Path(__file__).parents[2] / "docs" / "methods"


def section(name: str, heading: str) -> str:
    """Return what stands by hand under a heading of the page of a method."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"docs/methods/{name}.md has no section '{heading}'"
    return found[1]


def test_there_is_a_page_for_every_method_and_no_other() -> None:
    assert sorted(FOLDER.glob("*.md")) == sorted(METHOD_PAGES)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_it_has_its_equation_and_says_when_to_use_it(name: str) -> None:
    loss = section(name, "Loss")
    equations = re.findall(r"^```math\n(.+?)^```$", loss, re.DOTALL | re.MULTILINE)
    assert any(r"\mathcal{L} =" in equation for equation in equations)
    assert len(section(name, "When to use it").split()) >= 15


@pytest.mark.parametrize("name", sorted(METHODS))
def test_its_equation_names_every_hyperparameter_that_is_searched(name: str) -> None:
    loss = section(name, "Loss")
    for option in METHODS[name].search_space:
        assert f"`{option}`" in loss, f"docs/methods/{name}.md does not say what `{option}` is in the equation"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_its_generated_parts_are_up_to_date(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- method: (\w+) -->", text) == ["head", "hyperparameters", "figures"]
    filled = filled_page(name, text, MEASURED.read_text(encoding="utf-8"))
    assert filled == text, "run python -m plml.commands.readme"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_its_figures_are_there(name: str) -> None:
    assert "test mAP" in section(name, "Figures")


def test_arguments_of_a_docstring_are_read() -> None:
    class Described:
        """What it is.

        Args:
            first: one line: with a colon.
            second: two lines, of which this is
                the first.

        Raises:
            ValueError: never.
        """

    assert dict(arguments(Described)) == {
        "first": "one line: with a colon.",
        "second": "two lines, of which this is the first.",
    }
