"""The LaTeX table: marks, captions, escapes; and it compiles where there is a LaTeX."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.latex import escape, latex
from ablations.outcome import GridOutcome
from ablations.summary import summarise

MakeGrid = Callable[[dict[str, dict[tuple[int, int], float]]], GridOutcome]
NASTY = '50%_a&b #1 $x$ {y} ~z^2 \\w <|> "q" \u03b1=\u00b10.5 \u2212\u00d7 \u2265 caf\u00e9 \u4e2d'


@pytest.fixture(scope="module")
def long_and_paper(two_factors: GridOutcome) -> list[str]:
    return latex(summarise(two_factors, resamples=20)).split(r"\begin{table}")[1:]


def line(table: str, start: str) -> str:
    return next(found for found in table.splitlines() if found.startswith(start))


def test_best_is_bold_second_underlined_and_luck_is_marked(make_grid: MakeGrid) -> None:
    base = {(s, 0): 50.0 + s for s in range(4)}
    wave = (0.1, -0.1, 0.05, -0.05)
    cells = {
        "base": base,
        "better": {(s, 0): 60.0 + s + wave[s] for s in range(4)},
        "same": {(s, 0): 50.4 + s + 20 * wave[s] for s in range(4)},
    }
    text = latex(summarise(make_grid(cells)))
    assert r"\textbf{61.50}" in line(text, "better")
    assert r"\underline{51.90}" in line(text, "same")
    assert r"$^{\circ}$" in line(text, "same")
    assert r"$^{\circ}$" not in line(text, "better")
    assert r"$<$\,0.001" in line(text, "better")
    assert "baseline" in line(text, "base")
    assert r"{\scriptsize$\pm$1.29}" in line(text, "base")


def test_one_run_has_no_deviation_and_the_caption_says_so(make_grid: MakeGrid) -> None:
    text = latex(summarise(make_grid({"a": {(0, 0): 50.0}, "b": {(0, 0): 51.0}})))
    assert "pm" not in text.split(r"\midrule")[1]
    assert "no deviation where there is one run" in text


def test_equal_best_are_both_bold(make_grid: MakeGrid) -> None:
    text = latex(summarise(make_grid({"a": {(0, 0): 51.0}, "b": {(0, 0): 51.0}, "c": {(0, 0): 50.0}})))
    assert text.count(r"\textbf") == 2
    assert r"\underline{50.00}" in text


def test_caption_tells_selection_runs_budget_and_test(long_and_paper: list[str]) -> None:
    for table in long_and_paper:
        caption = re.search(r"\\caption\{(.*)\}\n", table)
        assert caption is not None
        for words in ("selected by map on observed labels", "16 trials", "crossed seeds", "Holm", "runs missing"):
            assert words in caption[1]


def test_paper_form_has_the_factor_as_columns_and_its_own_best(long_and_paper: list[str]) -> None:
    _, paper = long_and_paper
    assert r"\multicolumn{2}{c}{boostlu}" in paper
    assert r"loss & off & on \\" in paper
    bold = [found for found in paper.splitlines() if r"\textbf" in found]
    assert len(bold) == 1
    assert bold[0].startswith(r"ll\_ct & \textbf")
    assert bold[0].count(r"\textbf") == 2
    assert bold[0].endswith(r"$^{\circ}$$^{\ast}$ \\")  # luck, and a run is missing


@pytest.mark.parametrize("program", ["pdflatex"])
def test_it_compiles(
    program: str, two_factors: GridOutcome, across_settings: GridOutcome, make_grid: MakeGrid, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    nasty = make_grid({NASTY: {(0, 0): 50.0, (1, 0): 52.0}, "b": {(0, 0): 51.0}})
    grids = [two_factors, across_settings, replace(nasty, description=NASTY, factors=("method",))]
    tables = "\n".join(latex(summarise(grid, resamples=10)) for grid in grids)
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[margin=1cm]{geometry}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{head}\n{tables}\n\\end{{document}}\n", encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "t.pdf").stat().st_size > 10_000


def test_escape() -> None:
    assert escape("a_b & 5%") == r"a\_b \& 5\%"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("\u4e2d") == "?"


def test_runs_of_their_own_are_not_called_crossed(make_grid: MakeGrid) -> None:
    own = {(seed, 1200 + seed): 70.0 + seed for seed in range(4)}
    text = latex(summarise(make_grid({"an": own, "role": {pair: value + 1 for pair, value in own.items()}})))
    assert "4 runs, each with a seed and a label draw of its own" in text
    assert r"\times" not in text
    crossed = {(seed, draw): 70.0 + seed + draw for seed in range(2) for draw in range(3)}
    text = latex(summarise(make_grid({"an": crossed, "role": {pair: value + 1 for pair, value in crossed.items()}})))
    assert r"2 seeds $\times$ 3 label draws" in text
    assert r"6 (2\,$\times$\,3)" in text
