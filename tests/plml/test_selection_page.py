"""docs/selection.md names every criterion, key and sign, and its examples are accepted."""

import re
from pathlib import Path

import pytest

from plml.config import make_config
from plml.disagreement import BOUND, DEVIATIONS, FEWEST, RELIABLE, SHARE
from plml.observation import OBSERVATIONS
from plml.schema import read_yaml
from plml.selection import CRITERIA
from plml.selection_config import SelectionConfig

TEXT = (Path(__file__).parents[2] / "docs" / "selection.md").read_text(encoding="utf-8")
[EXAMPLES] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("line", EXAMPLES.strip().splitlines())
def test_examples_are_accepted(line):
    tree = read_yaml(line)
    make_config({"data": {"observation": "single_positive"}, "method": "an", **tree})


def test_every_criterion_and_key_is_there():
    for name in CRITERIA:
        assert f"| `{name}` |" in TEXT
    for key in SelectionConfig.model_fields:
        assert key in TEXT
    for cardinality in ("known", "declared", "estimated"):
        assert f"| `{cardinality}` |" in TEXT


def test_auto_is_described_for_every_setting_that_does_not_choose_by_map():
    paragraph = TEXT[TEXT.index("`auto` is") : TEXT.index("## Corrected AP")]
    for name in OBSERVATIONS:
        options = {"path": "x.npz"} if name == "from_file" else {}
        config = make_config({"data": {"observation": {"name": name, **options}}, "method": "role"})
        assert (f"`{name}`" in paragraph) == (config.choosing.criterion != "map")


def test_bounds_are_those_of_the_code():
    section = " ".join(TEXT[TEXT.index("## Label bias") :].split())
    assert f"at least {FEWEST} models is below {BOUND:g}" in section
    assert f"less than {SHARE:g} of the declared number, and {DEVIATIONS:g} standard errors below" in section
    assert f"Below {RELIABLE:g} with itself" in section
