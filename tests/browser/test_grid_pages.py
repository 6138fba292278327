"""A grid told to an MLflow server that keeps the artifacts, and its pages: what a reader sees and compares.

Screenshots go to the test's temporary folder (``pytest --basetemp=DIR`` keeps them in DIR).
"""

import csv
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# MLflow's own use of SQLAlchemy and of its interfaces, in the client that a test loads a model with.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
GRID = {
    "description": "Two methods by batch size on a handful of digits.",
    "base": {
        "epochs": 2,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 200, "num_val": 80, "num_test": 100},
        },
        "optim": {"lr": 3e-3},
    },
    "factors": {
        "method.name": ["an", "wan"],
        "batches": {"small": {"optim.batch_size": 16}, "large": {"optim.batch_size": 32}},
    },
    "seeds": [0, 1, 2],
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
}
AXES = {"Factor batches", "Method", "test/mAP"}


@dataclass(frozen=True)
class Told:
    """A grid that ended, and the server that it was told to.

    Attributes:
        output: everything it printed.
        base: address of the server.
        folder: the output folder.
        cells: rows of its table, best first.
    """

    output: str
    base: str
    folder: Path
    cells: list[dict[str, str]]

    def link(self, name: str) -> str:
        found = re.search(rf"^{name}\s+(http\S+)", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(browser: "Browser", serve: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A grid whose workers and driver know the store by its address alone."""
    folder = tmp_path_factory.mktemp("grid")
    base = serve(
        f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --backend-store-uri sqlite:///{folder}/server.db "
        f"--artifacts-destination {folder}/kept --host 127.0.0.1 --port 5000"
    )
    (folder / "mine.yaml").write_text(yaml.safe_dump(GRID, sort_keys=False))
    script = str(ROOT / "ablations" / "run.py")
    output = run(script, "--grid", "mine.yaml", "--output-dir", "out", "--tracking-uri", base, cwd=folder)
    assert "the grid goes on" not in output  # nothing had to be delivered later
    with (folder / "out" / "ablations" / "mine" / "cells.csv").open(encoding="utf-8") as file:
        cells = sorted(csv.DictReader(file), key=lambda row: -float(row["mean"]))
    return Told(output, base, folder, cells)


def check_comparison(page: "Page", cells: list[dict[str, str]]) -> None:
    """The compare page opens on the factors, and shows the figures of these cells."""
    page.locator(".parcoords").first.wait_for(state="visible")
    axes = page.locator(".parcoords .axis-title").all_text_contents()
    assert axes[:2] == ["Factor batches", "Method"]
    assert axes[-1] == "test/mAP"
    page.get_by_text("test/mAP/std", exact=True).first.wait_for(state="attached")
    text = page.locator("body").inner_text()
    metrics = text[text.rindex("Metrics\n") :].split()
    shown = np.array([float(word) for word in metrics if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", word)])
    for name, column in (("test/mAP", "mean"), ("test/mAP/std", "std"), ("test/mAP/difference/mean", "difference")):
        assert name in metrics
        for row in cells:
            if row[column]:  # the baseline has no difference
                assert np.isclose(shown, float(row[column]), rtol=5e-4, atol=6e-4).any(), (name, row["cell"])  # rounded


def test_the_page_of_a_grid_says_which_cell_is_best_and_why(
    told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(told.link("pages"))
    see(page, "Which settings", "Parallel Coordinates", "Which is better")
    page.locator("svg text.label").first.wait_for(state="visible")
    assert set(page.locator("svg text.label").all_text_contents()) == AXES
    names = [text for text in page.locator("a[href*='/runs/']").all_inner_texts() if text.startswith(("an,", "wan,"))]
    assert names == [row["cell"] for row in told.cells]  # cells only, best first
    page.get_by_text(f"{told.cells[0]['cell']} has the highest test/mAP").first.wait_for(state="visible")
    page.locator(".js-plotly-plot .bars .point").first.wait_for(state="visible")
    see(page, "test/mAP", "test/mAP/difference/mean")
    page.get_by_text("Learning curves").first.scroll_into_view_if_needed()  # drawn when they come into view
    see(page, "val/mAP", "selection/value")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="visible")


def test_chosen_cells_are_compared(told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None]) -> None:
    page = open_page(told.link("pages"))
    boxes = page.get_by_label(re.compile("toggle row selection"))
    boxes.first.wait_for(state="visible")
    for row in range(len(told.cells)):
        boxes.nth(row).check()
    page.get_by_role("button", name="Compare", exact=True).click()
    see(page, f"Comparing {len(told.cells)} Runs from 1 Experiment")
    check_comparison(page, told.cells)


def test_the_compare_link_has_the_baseline_and_the_best_cells(
    told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(told.link("compare"))
    see(page, f"Comparing {len(told.cells)} Runs from 1 Experiment", *(row["cell"] for row in told.cells))
    check_comparison(page, told.cells)


def test_runs_are_grouped_by_cell(told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None]) -> None:
    page = open_page(told.link("runs"))
    see(page, "Run Name", "selection/best", "test/mAP", "12")
    page.get_by_text(f"Group: {told.cells[0]['cell']}").first.wait_for(state="visible")
    page.get_by_text(f"{told.cells[0]['cell']}, seed 0").first.wait_for(state="visible")
    assert page.get_by_text("Additional runs").count() == 0  # none is without a cell


def test_the_summary_has_conclusion_table_picture_and_files(
    told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(told.link("summary"))
    see(page, "Description", "Show more")
    page.get_by_text("Show more", exact=True).first.click()
    see(page, "Conclusion", "Every cell with its runs")
    for row in told.cells:
        page.get_by_role("cell", name=row["cell"], exact=True).first.wait_for(state="visible")
    page.wait_for_function("[...document.images].some(i => i.src.includes('intervals.svg') && i.naturalWidth > 100)")
    page.get_by_role("tab", name="Artifacts").click()
    see(page, "report.md", "table.tex", "cells.csv", "figures")


def test_a_run_of_a_grid_becomes_a_version_on_the_server(
    told: Told, open_page: Callable[[str], "Page"], see: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (told.folder / "out" / "ablations" / "mine" / "runs.csv").open(encoding="utf-8") as file:
        row = max(csv.DictReader(file), key=lambda one: float(one["test/mAP"]))
    command = ["-m", "plml", "register", str(Path(row["folder"]) / "best.pt"), "--name", "scenes"]
    said = run(*command, "--alias", "champion", "--tracking-uri", told.base, cwd=told.folder)
    assert "scenes version 1" in said
    page = open_page(f"{told.base}/#/models/scenes/versions/1")
    see(page, "Version 1", "@\u00a0champion", f"{row['cell']}, seed {row['seed']}")  # of the training, not of its cell
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", told.base)
    model = mlflow.pyfunc.load_model("models:/scenes@champion")
    scores = model.predict(np.zeros((2, 40, 40, 1), dtype=np.uint8))
    assert scores.shape == (2, 10)
    kept = [path.name for path in (told.folder / "kept").rglob("*") if path.is_file()]
    assert {"checkpoint.pt", "report.md", "intervals.svg"} <= set(kept)
