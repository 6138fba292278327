"""docs/troubleshooting.md quotes messages that the code really says."""

import re

import pytest
from messages import is_said
from pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\*\*`(.+)`\*\*$", PAGE, re.MULTILINE)


def test_it_quotes_messages() -> None:
    assert len(QUOTED) >= 30
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_the_code_says_it(message: str) -> None:
    assert is_said(message), f"no text of the code holds '{message}'"


def test_what_nobody_says_is_not_found() -> None:
    assert not is_said("method '...' has been eaten by a grue")
    assert not is_said("the baseline with one factor at another level")  # stands in a docstring
