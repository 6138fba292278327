"""The pictures of docs/settings.md are what the mechanisms draw, and every setting that draws has one."""

import importlib.util
import re

import numpy as np
import pytest
from pages import ROOT

from plml.labels import UNKNOWN
from plml.observation import OBSERVATIONS

SPEC = importlib.util.spec_from_file_location("draw_settings", ROOT / "docs" / "draw_settings.py")
assert SPEC is not None
assert SPEC.loader is not None
DRAWING = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(DRAWING)
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_every_setting_that_draws_has_a_picture_in_its_section() -> None:
    assert set(OBSERVATIONS) - set(DRAWING.SETTINGS) == {"as_given", "from_file"}  # labels of somewhere else
    for name in DRAWING.SETTINGS:
        sections = [
            text for text in re.split(r"^### ", PAGE, flags=re.MULTILINE) if f"`{name}`" in text.splitlines()[0]
        ]
        assert f"(images/settings/{name}.svg)" in sections[0]


@pytest.mark.parametrize("name", list(DRAWING.SETTINGS))
def test_it_is_up_to_date(name: str) -> None:
    file = DRAWING.FOLDER / f"{name}.svg"
    assert file.read_text(encoding="utf-8") == DRAWING.picture(name), "run python docs/draw_settings.py"


@pytest.mark.parametrize("name", list(DRAWING.SETTINGS))
def test_what_is_shown_is_true(name: str) -> None:
    shown, truth = DRAWING.observed(name), DRAWING.truth()
    assert np.array_equal(shown[shown != UNKNOWN], truth[shown != UNKNOWN])
