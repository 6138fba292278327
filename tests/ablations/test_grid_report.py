"""The files of a grid: full precision in CSV, the same figures in Markdown, nothing left of an earlier state."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ablations.best_of_k import best_of_k
from ablations.figures import draw_best_of_k, draw_class_differences, draw_interaction
from ablations.interval_figure import draw_intervals
from ablations.outcome import GridOutcome
from ablations.rank_figure import draw_critical_difference
from ablations.report import write_report, write_summary
from ablations.significance import T_TESTS, TestName
from ablations.summary import GridSummary, summarise
from ablations.terminal_table import render


@pytest.fixture(scope="module")
def summary(two_factors: GridOutcome) -> GridSummary:
    return summarise(two_factors, resamples=50)


@pytest.fixture(scope="module")
def written(summary: GridSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("grid")
    files = write_summary(summary, folder)
    assert sorted(files) == sorted(file for file in folder.rglob("*") if file.is_file())
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_cells_csv_has_every_number_with_all_digits(written: Path, summary: GridSummary) -> None:
    table = rows(written / "cells.csv")
    assert [row["cell"] for row in table] == [cell.label for cell in summary.cells]
    for row, cell in zip(table, summary.cells, strict=True):
        assert float(row["mean"]) == cell.mean
        assert float(row["std"]) == cell.std
        assert (float(row["interval_low"]), float(row["interval_high"])) == cell.interval
        assert (float(row["images_low"]), float(row["images_high"])) == cell.images
        assert row["loss"] == cell.levels["loss"]
        if cell.difference is None:
            assert row["p_holm"] == row["difference"] == ""
        else:
            assert float(row["difference"]) == cell.difference.mean
            assert float(row["p_holm"]) == cell.difference.p_holm
            assert row["significant"] == str(int(cell.difference.significant))
    assert {row["optim.lr"] for row in table} == {"0.01", "0.001"}
    assert {row["test"] for row in table} == {"crossed_t"}


def test_runs_csv_has_every_run(written: Path, two_factors: GridOutcome) -> None:
    table = rows(written / "runs.csv")
    runs = [(cell.label, run) for cell in two_factors.cells for run in cell.runs]
    assert len(table) == len(runs) == 35
    for row, (label, run) in zip(table, runs, strict=True):
        assert (row["cell"], int(row["seed"]), int(row["label_draw"])) == (label, *run.pair)
        assert float(row["test/mAP"]) == run.metrics["test/mAP"]
        assert row["folder"] == str(run.folder)


def test_markdown_begins_with_the_conclusion_and_shows_the_same_figures(written: Path, summary: GridSummary) -> None:
    text = (written / "report.md").read_text()
    assert text.index("## Conclusion") < text.index("ll_ct, on has the highest test/mAP") < text.index("| place |")
    for cell in summary.cells:
        line = next(line for line in text.splitlines() if f"| {cell.label} | {cell.n}" in line)
        assert f"| {cell.mean:.2f} ± {cell.std:.2f} |" in line
        if cell.difference is not None:
            assert f"| {cell.difference.mean:+.2f} |" in line
    assert "incomplete" in next(line for line in text.splitlines() if "5 of 6" in line)
    columns = {line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("| ")}
    assert columns == {13, 7}  # the cells' table and that of the budgets
    for figure in (written / "figures").glob("*.png"):
        assert f"(figures/{figure.name})" in text


def test_the_same_outcome_gives_the_same_bytes(written: Path, summary: GridSummary, tmp_path: Path) -> None:
    for file in write_summary(summary, tmp_path):
        assert file.read_bytes() == (written / file.relative_to(tmp_path)).read_bytes(), file.name


def test_selection_on_clean_labels_is_stamped_on_every_file_and_in_words(
    across_settings: GridOutcome, tmp_path: Path
) -> None:
    files = write_report(replace(across_settings, cells=across_settings.cells[:15]), tmp_path)
    assert all(file.stem.endswith("-selected-on-clean") for file in files)
    assert "**Selected on clean labels**" in (tmp_path / "report-selected-on-clean.md").read_text()
    assert (tmp_path / "table-selected-on-clean.tex").read_text().count("clean labels, which") == 2
    assert "selected on clean labels" in (tmp_path / "figures" / "intervals-selected-on-clean.svg").read_text()


def test_nothing_of_an_earlier_state_stays(across_settings: GridOutcome, tmp_path: Path) -> None:
    few = replace(across_settings, cells=across_settings.cells[:15])
    before = write_report(few, tmp_path)
    after = write_report(replace(few, clean=False, blocks=None, baseline=None), tmp_path)
    assert sorted(after) == sorted(file for file in tmp_path.rglob("*") if file.is_file())
    assert not set(before) & set(after)
    assert not any("critical_difference" in file.name for file in after)


def test_a_grid_without_any_run_says_so(two_factors: GridOutcome, tmp_path: Path) -> None:
    empty = replace(two_factors, cells=tuple(replace(c, runs=(), trials=()) for c in two_factors.cells))
    files = write_report(empty, tmp_path)
    assert {file.name for file in files} == {"report.md", "cells.csv", "runs.csv", "table.tex"}
    assert "No run is finished." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("test", get_args(TestName))
def test_runs_that_are_all_alike_and_a_cell_without_any(
    make_grid: Callable[..., GridOutcome], tmp_path: Path, test: str
) -> None:
    pairs = [(seed, 0) for seed in range(3)]
    alike = {name: dict.fromkeys(pairs, figure) for name, figure in (("a", 50.0), ("b", 51.0), ("same", 50.0))}
    outcome = make_grid({**alike, "none": {}})
    files = write_report(outcome, tmp_path, test=test)
    # Three signs are alike one time in four; a t test has no variance to measure a difference by.
    p, p_holm, verdict = ("-", "-", "not tested") if test in T_TESTS else ("0.250", "0.500", "not significant")
    report = (tmp_path / "report.md").read_text()
    exact = "[{0}, {0}]".format
    table = {line.split(" | ")[1]: line[2:-2].split(" | ") for line in report.splitlines() if line.startswith("| ")}
    plain = ["3 (3 x 1)", "50.00 ± 0.00", exact("50.00"), "-"]
    assert table["a"] == ["2", "a", *plain, *"-----", "baseline"]
    assert table["same"] == ["2", "same", *plain, "+0.00", exact("+0.00"), "-", "1.000", "1.000", "not significant"]
    above = ["+1.00", exact("+1.00"), "-", p, p_holm, verdict]
    assert table["b"] == ["1", "b", "3 (3 x 1)", "51.00 ± 0.00", exact("51.00"), "-", *above]
    assert table["none"] == ["-", "none", "0 of 3", *"--------", "incomplete"]
    assert "Not complete: none." in report
    assert ("cannot be tested: every pair differs by as much" in report) == (test in T_TESTS)

    tex = {line.split(" & ")[0]: line for line in (tmp_path / "table.tex").read_text().splitlines() if " & " in line}
    assert r"\textbf{51.00} {\scriptsize$\pm$0.00}" in tex["b"]
    assert tex["b"].endswith(rf"& {p_holm} \\")
    assert tex["same"].endswith(r"& 1.000 \\")
    assert tex["none"] == r"none & 0 of 3$^{\ast}$ & - & - & - & - &  \\"

    csv_of = {row["cell"]: row for row in rows(tmp_path / "cells.csv")}
    assert [csv_of[name]["std"] for name in ("a", "b", "same", "none")] == ["0.0", "0.0", "0.0", ""]
    assert [csv_of[name]["p"] for name in ("b", "same")] == ["" if p == "-" else "0.25", "1.0"]

    console = Console(width=200)
    with console.capture() as capture:
        console.print(render(summarise(outcome, test=test)))
    shown = capture.get()
    empty = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["none"])
    assert empty == ["none", "0", "of", "3", "-", "-", "incomplete"]
    words = shown + "".join(file.read_text() for file in files if file.suffix != ".png")
    assert not re.search(r"\b(nan|inf)\b", words, re.IGNORECASE)


def test_names_with_bars_do_not_break_the_markdown_table(make_grid: Callable[..., GridOutcome], tmp_path: Path) -> None:
    write_report(make_grid({"a|b": {(0, 0): 1.0}, "c": {(0, 0): 2.0}}), tmp_path)
    assert r"a\|b" in (tmp_path / "report.md").read_text()


def test_pictures_show_something(written: Path) -> None:
    files = sorted((written / "figures").iterdir())
    names = {"best_of_k", "class_differences", "interaction", "intervals"}
    assert {file.name for file in files} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for file in files:
        if file.suffix == ".png":
            pixels = np.asarray(Image.open(file).convert("L"))
            assert pixels.std() > 5
        else:
            assert "<text" in file.read_text()


def test_dot_plot_has_means_runs_and_the_baseline(summary: GridSummary) -> None:
    figure = draw_intervals(summary)
    assert figure is not None
    (axes,) = figure.axes
    points = np.concatenate([np.asarray(found.get_offsets()) for found in axes.collections])
    means = [cell.mean for cell in summary.cells]
    assert len(points) == len(means) + 35
    assert set(means) <= {x for x, _ in points}
    assert any(np.allclose(line.get_xdata(), means[0]) and line.get_linestyle() == "--" for line in axes.lines)  # type: ignore[arg-type]
    assert axes.get_yticklabels()[0].get_text() == "ll_ct, on *"


def test_interaction_has_a_line_for_each_level(summary: GridSummary) -> None:
    figure = draw_interaction(summary)
    assert figure is not None
    (axes,) = figure.axes
    lines = {str(line.get_label()): line.get_ydata() for line in axes.lines}
    means = {cell.label: cell.mean for cell in summary.cells}
    assert list(lines) == ["an", "ll_r", "ll_ct"]
    for loss, heights in lines.items():
        assert list(heights) == [means[f"{loss}, off"], means[f"{loss}, on"]]  # type: ignore[arg-type]


def test_class_bars_are_those_of_the_best_cell(summary: GridSummary) -> None:
    figure = draw_class_differences(summary)
    assert figure is not None
    widths = sorted(bar.get_width() for bar in figure.axes[0].patches)  # type: ignore[attr-defined]
    best = summary.best("")
    assert best is not None
    assert best.difference is not None
    assert widths == sorted(best.difference.classes)  # type: ignore[type-var]


def test_budget_curves_are_exact(summary: GridSummary, two_factors: GridOutcome) -> None:
    figure = draw_best_of_k(summary)
    assert figure is not None
    curves = {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}
    for cell in two_factors.cells:
        expected = best_of_k(cell.trials)
        assert expected is not None
        assert tuple(curves[cell.label]) == expected.test  # type: ignore[arg-type]


def test_critical_difference_diagram_names_everybody(across_settings: GridOutcome) -> None:
    figure = draw_critical_difference(summarise(across_settings))
    assert figure is not None
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    for name in ("role  1.00", "an_ls", "critical difference 2.49"):
        assert name in words


def test_a_factor_alone_has_no_interaction(make_grid: Callable[..., GridOutcome]) -> None:
    one = summarise(make_grid({"a": {(0, 0): 1.0}, "b": {(0, 0): 2.0}}))
    assert draw_interaction(one) is None
    assert draw_critical_difference(one) is None
    assert draw_best_of_k(one) is None
    assert draw_class_differences(one) is None
