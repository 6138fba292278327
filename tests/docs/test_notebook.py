"""docs/library.ipynb runs from top to bottom, learns, and is kept without outputs."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from pages import ROOT

NOTEBOOK = ROOT / "docs" / "library.ipynb"


@pytest.fixture
def printed(tmp_path: Path) -> str:
    """What the notebook prints when nbclient's own program runs it."""
    program, done = Path(sys.executable).parent / "jupyter-execute", tmp_path / "done.ipynb"
    command = [str(program), str(NOTEBOOK), f"--output={done}", "--timeout=240"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    cells = nbformat.read(done, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_it_runs_and_learns(printed: str) -> None:
    seen, positives = map(int, re.search(r"(\d+) of (\d+) positives are seen", printed).groups())  # type: ignore[union-attr]
    assert 0 < seen < positives / 2
    reached, chance = map(float, re.search(r"test mAP ([\d.]+), by chance ([\d.]+)", printed).groups())  # type: ignore[union-attr]
    assert reached > 2 * chance  # with all labels logistic regression has 2.35 times


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
