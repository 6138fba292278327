"""The table of the selection study: figures of ``criteria.csv``, the best allowed bold, one command to write it."""

from pathlib import Path

import pytest

from plml.commands import readme
from plml.commands.criteria_table import NEEDED, criteria_tables
from plml.errors import DataError
from plml.reselection import Reselection
from plml.reselection_tables import csv_text

SINGLE = '"toy, single_positive {""num_positives"": 1, ""weights"": null}"'
LINES = f"""{",".join(NEEDED)}
{SINGLE},2,10,80,map,False,0.444,0.5,1.04,2
{SINGLE},2,10,80,clean,True,0.9,0.9,0.1,0.1
{SINGLE},2,10,80,pu_auc,False,0.6,-0.001,0.96,
"toy, candidate_set",2,6,80,map,False,0.7,0.8,3,4
"""


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    file = tmp_path / "criteria.csv"
    file.write_text(LINES, encoding="utf-8")
    return file


def test_rows_are_criteria_and_columns_settings(table_file):
    lines = criteria_tables([table_file]).splitlines()
    assert "toy, 80 validation images, 16 runs, 2 label draws a setting:" in lines
    assert lines[-5:] == [
        "| criterion | `single_positive` num_positives 1 | `candidate_set` |",
        "| --- | --- | --- |",
        "| `map` | 0.44 / **0.50** / **1.0** / **2.0** | **0.70** / **0.80** / **3.0** / **4.0** |",
        "| `pu_auc` | **0.60** / 0.00 / **1.0** / ? |  |",
        "| `clean` *forbidden* | 0.90 / 0.90 / 0.1 / 0.1 |  |",
    ]


def test_several_files_make_several_tables(table_file):
    assert criteria_tables([table_file, table_file]).count("| criterion |") == 2


def test_the_columns_are_those_that_are_written():
    assert set(NEEDED) <= set(csv_text(Reselection((), ())).strip().split(","))


@pytest.mark.parametrize("text", ["", "setting,draws\na,1\n", ",".join(NEEDED)])
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=r"x\.csv: no table of criteria"):
        criteria_tables([file])
    with pytest.raises(DataError, match="cannot be read"):
        criteria_tables([tmp_path / "missing.csv"])


def test_one_command_fills_every_marker_and_leaves_the_rest(table_file, tmp_path, monkeypatch):
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text(
        "a\n<!-- table: selection study -->\nold\n<!-- end -->\nb\n<!-- table: methods -->\nc\n<!-- end -->\n"
    )
    other.write_text("nothing of it\n")
    monkeypatch.setattr(readme, "STUDY_FILES", (page, other))
    readme.main(["--criteria", str(table_file)])
    text = page.read_text()
    assert criteria_tables([table_file]) in text
    assert "\nold\n" not in text
    assert text.startswith("a\n<!-- table")
    assert text.endswith("b\n<!-- table: methods -->\nc\n<!-- end -->\n")
    assert other.read_text() == "nothing of it\n"


def test_the_page_has_the_marker():
    text = (readme.ROOT / "docs" / "selection.md").read_text(encoding="utf-8")
    assert text.count("<!-- table: selection study -->\n") == 1
    assert "| `ap_auc` |" in text[text.index("<!-- table: selection study -->") :]
