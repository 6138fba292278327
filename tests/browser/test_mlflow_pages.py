"""The printed links in a real browser, on a study that was really run: what a reader of the pages sees.

Screenshots go to the test's temporary folder (``pytest --basetemp=DIR`` keeps them in DIR).
"""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tune.folders import StudyFolder
from tune.records import open_study
from tune.standings import Leaderboard, Row, read_leaderboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
STUDY = {
    "description": "Two methods on a handful of digits.",
    "base": {
        "epochs": 3,
        "diagnostics": "label_correction",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 200, "num_val": 80, "num_test": 100},
        },
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "method.lr_mult": {"type": "float", "low": 1.0, "high": 30.0, "log": True, "when": {"method.name": "role"}},
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
        "optim.batch_size": {"type": "categorical", "choices": [16, 32]},
    },
    "sampler": {"name": "random", "seed": 3},
    "n_trials": 8,
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
    "track": {"register": "scenes", "alias": "champion", "checkpoints": "every_epoch"},
}


@dataclass(frozen=True)
class Finished:
    """A study that ended, what it printed, and the server that shows it.

    Attributes:
        output: everything it printed.
        board: its leaderboard.
        base: address of the pages.
    """

    output: str
    board: Leaderboard
    base: str

    def link(self, name: str) -> str:
        """The link printed after ``name``, at the address where the pages are served here."""
        found = re.search(rf"^{name}\s+(http\S+)", self.output, re.MULTILINE)
        assert found, self.output
        return found[1].replace("http://127.0.0.1:5000", self.base)

    @property
    def best(self) -> Row:
        assert self.board.best is not None
        return self.board.best

    def run_name(self, row: Row) -> str:
        return f"{row.key}-{row.method}"

    def run_link(self, run_id: str, tab: str = "") -> str:
        return f"{self.base}/#/experiments/1/runs/{run_id}{tab}?workflowType=machine_learning"


@pytest.fixture(scope="module")
def finished(browser: "Browser", serve: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A study run by ``tune/run.py`` from another folder, then served by the command that it printed."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "pages.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "pages.yaml", "--output-dir", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    board = read_leaderboard(open_study(StudyFolder(folder / "out" / "pages")), folder / "out" / "pages")
    printed = re.search(r"^MLflow\s+(\S+=false .* server .*)$", done.stdout, re.MULTILINE)
    assert printed, done.stdout
    return Finished(done.stdout, board, serve(printed[1]))


def test_the_pages_link_opens_on_filled_charts_best_run_first(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(finished.link("pages"))
    see(page, "Which settings", "Parallel Coordinates", "Which is better")
    page.locator("svg text.label").first.wait_for(state="visible")
    axes = page.locator("svg text.label").all_text_contents()
    assert set(axes) == {"Method", "log10 optim.lr", "optim.batch_size", "selection/best"}
    runs = page.locator("a[href*='/runs/']").all_inner_texts()
    names = [text for text in runs if re.fullmatch(r"\d{4}-\w+", text)]
    assert names[0] == finished.run_name(finished.best)
    assert set(names) == {finished.run_name(row) for row in finished.board.rows}  # and not the study's own run
    bars = page.locator(".js-plotly-plot .bars .point")
    bars.first.wait_for(state="visible")
    assert bars.count() >= len(finished.board.ranked)
    page.get_by_text("Learning curves").first.scroll_into_view_if_needed()  # charts are drawn when they come into view
    see(page, "selection/best vs. test/mAP", "log10 optim.lr vs. optim.batch_size vs. selection/best")
    page.locator(".js-plotly-plot .contourlayer .contour").first.wait_for(state="visible")
    see(page, "val/mAP")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="visible")
    page.get_by_text("Label correction").first.scroll_into_view_if_needed()
    see(page, "diagnosis/loss_false_negatives", "diagnosis/pseudo_positive_precision")


def test_the_table_has_columns_of_metrics_and_searched_parameters(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(finished.link("pages").replace("&compareRunsMode=CHART", ""))
    see(page, "Run Name", "selection/best", "test/mAP", "Method")
    row = page.get_by_role("row").filter(has_text=f"{finished.best.objective:.4f}"[:-1])
    row.first.wait_for(state="visible")
    assert f"{finished.best.test_map:.4f}"[:-1] in row.first.inner_text()


def test_the_compare_link_says_which_is_better_and_by_which_settings(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(finished.link("compare"))
    first, second = finished.board.best_of_each
    see(page, "Comparing 2 Runs from 1 Experiment", "Parallel Coordinates Plot")
    see(page, finished.run_name(first), finished.run_name(second))
    page.locator(".parcoords").first.wait_for(state="visible")
    axes = page.locator(".parcoords .axis-title").all_text_contents()
    assert axes[0] == "Method"
    assert axes[-1] == "selection/best"
    assert any(name.startswith("log10 ") for name in axes)
    page.get_by_role("switch").first.click()  # Parameters: show diff only
    text = page.locator("body").inner_text()
    parameters = text[text.index("Parameters\n") : text.rindex("Metrics\n")]
    assert re.search(r"method\.name\s+" + rf"{first.method}\s+{second.method}", parameters)
    assert "optim.lr" in parameters
    assert "data.split_seed" not in parameters  # equal in both
    metrics = text[text.rindex("Metrics\n") :]
    assert "selection/best" in metrics
    for row in (first, second):
        assert f"{row.objective:.2f}".rstrip("0").rstrip(".") in metrics


def test_a_trials_run_has_data_set_tags_charts_and_checkpoint(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    assert finished.best.mlflow_run_id is not None
    page = open_page(finished.run_link(finished.best.mlflow_run_id))
    see(page, finished.run_name(finished.best), "Finished", "single_positive")
    body = page.locator("body").inner_text()
    assert re.search(r"digits \([0-9a-f]{8,}", body)
    page = open_page(finished.run_link(finished.best.mlflow_run_id, "/model-metrics"))
    see(page, "selection", "best", "value")
    page.locator(".js-plotly-plot").first.wait_for(state="visible")
    page = open_page(finished.run_link(finished.best.mlflow_run_id, "/artifacts"))
    see(page, "checkpoint", "config.yaml", "result.json")
    page.get_by_text("checkpoint", exact=True).first.click()
    see(page, "best.pt")


def test_the_studys_run_has_conclusion_leaderboard_and_figures(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    search = "searchFilter=tags.%60plml.kind%60%20%3D%20%27study%27&workflowType=machine_learning"
    page = open_page(f"{finished.base}/#/experiments/1/runs?{search}")
    page.locator("a[href*='/runs/']", has_text="pages").first.click()
    see(page, "Description", "Show more")
    page.get_by_text("Show more", exact=True).first.click()
    text = page.locator("body").inner_text()
    assert f"{finished.best.method} is best: selection/best {finished.best.objective:.2f}" in text
    assert "Best of each method" in text
    page.get_by_role("tab", name="Artifacts").click()
    see(page, "leaderboard.csv", "best.yaml", "figures")
    page.get_by_text("best.yaml", exact=True).first.click()
    page.get_by_text("plml train best.yaml").first.wait_for(state="visible")
    page.get_by_text("figures", exact=True).first.click()
    page.get_by_text("parallel_coordinates.png", exact=True).first.click()
    page.locator("img[src^='blob:'], img[src*='artifact']").first.wait_for(state="visible")


def test_the_registered_version_says_what_it_is_and_has_the_alias(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(f"{finished.base}/#/models/scenes/versions/1")
    see(page, "Version 1", "@\u00a0champion", finished.run_name(finished.best))
    text = page.locator("body").inner_text()
    assert f"chosen by {finished.best.selected_by}: {finished.best.objective:.2f}" in text
    assert "plml.study" in text
    assert finished.best.mlflow_run_id is not None
    page = open_page(finished.run_link(finished.best.mlflow_run_id))
    see(page, "Registered models")
    page.locator("a[href$='/models/scenes/versions/1']").first.wait_for(state="visible")


def test_every_epoch_is_a_model_with_its_figures(
    finished: Finished, open_page: Callable[[str], "Page"], see: Callable[..., None]
) -> None:
    page = open_page(f"{finished.base}/#/experiments/1/models?workflowType=machine_learning")
    name = finished.run_name(finished.best)
    see(page, f"{name}-best")
    epoch = finished.best.best_epoch
    page.get_by_text(f"{name}-epoch-{epoch:03d}", exact=True).first.click()
    see(page, "selection/value", "val/mAP", "diagnosis/loss_true_negatives", name)
    assert f"{finished.best.objective:.4f}"[:-1] in page.locator("body").inner_text()
