"""Figures show the trials they are given: as many points, lines and bars, with the right numbers."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

from tune.class_figures import draw_per_class, draw_precision_recall
from tune.figures import draw_curves, draw_figures, draw_history, draw_importance
from tune.importance import ALL, importances
from tune.parallel import ABSENT, axes_of, draw_parallel, make_axis
from tune.standings import Leaderboard, read_leaderboard

NAMES = {
    "optimization_history",
    "parallel_coordinates",
    "parameter_importance",
    "learning_curves",
    "per_class_ap",
    "precision_recall",
}


@pytest.fixture(scope="module")
def board(short_study: tuple[optuna.Study, Path], tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    folder = shutil.copytree(short_study[1], tmp_path_factory.mktemp("copy") / "short")
    return read_leaderboard(short_study[0], Path(folder))


def test_every_figure_is_drawn_and_shows_something(board: Leaderboard, tmp_path: Path) -> None:
    files = draw_figures(board, tmp_path)
    assert {file.name for file in files} == {f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")}
    for file in files:
        if file.suffix == ".png":
            pixels = np.asarray(Image.open(file).convert("L"))
            assert pixels.std() > 5
            assert pixels[0, 0] == 255  # light background
        else:
            assert "<text" in file.read_text()  # words stay words


def test_figures_of_an_earlier_state_do_not_stay(board: Leaderboard, tmp_path: Path) -> None:
    (tmp_path / "per_class_ap.png").write_bytes(b"old")
    assert draw_figures(replace(board, rows=()), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_history_has_a_point_for_every_trial_that_evaluated_an_epoch(board: Leaderboard) -> None:
    figure = draw_history(board)
    assert figure is not None
    (axes,) = figure.axes
    points = np.concatenate([collection.get_offsets() for collection in axes.collections])
    shown = sorted((row for row in board.rows if row.objective is not None), key=lambda row: row.number)
    assert sorted(points[:, 1]) == pytest.approx(sorted(row.objective for row in shown))  # type: ignore[type-var]
    assert len(points) == 7
    (line,) = axes.lines
    assert line.get_ydata()[-1] == board.best.objective  # type: ignore[union-attr,index]
    assert {"an", "role", "best so far"} < {*axes.get_legend_handles_labels()[1]}


def test_parallel_coordinates_have_a_line_for_every_trial(board: Leaderboard) -> None:
    figure = draw_parallel(board)
    assert figure is not None
    axes = figure.axes[0]
    rows = [row for row in board.rows if row.objective is not None]
    expected = axes_of(board, rows)
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(expected)]
    assert len(lines) == len(rows)
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels[0] == "method"
    assert labels[-1] == board.metric
    assert "optim.lr (log)" in labels


def test_axes_are_logarithmic_linear_or_categories() -> None:
    axis = make_axis("lr", [1e-4, 1e-3, 1e-2, 1e-1], log=True)
    assert axis.heights == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01", "0.1"]
    assert [height for height, _ in axis.ticks] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert make_axis("wd", [0.0, 1e-4, 1e-2], log=True).heights == pytest.approx([0, 1 / 3, 1])
    assert make_axis("n", [8, 16, 32], log=False).heights == pytest.approx([0, 1 / 3, 1])
    assert make_axis("m", ["b", "a", None], log=False).heights == [1, 0, ABSENT]
    assert make_axis("flag", [True, False], log=False).heights == [1, 0]
    assert make_axis("same", [3.0, 3.0], log=False).heights == [0, 0]


def test_curves_follow_the_reports(board: Leaderboard) -> None:
    figure = draw_curves(board)
    assert figure is not None
    for row, line in zip(board.best_of_each, figure.axes[1].lines, strict=True):
        lines = (row.run_folder / "metrics.jsonl").read_text().splitlines()
        assert list(line.get_ydata()) == [json.loads(text)["metrics"]["val/mAP"] for text in lines]
    assert len(figure.axes[0].collections) == len(board.best_of_each)  # the chosen epochs


def test_bars_are_the_test_average_precisions(board: Leaderboard) -> None:
    figure = draw_per_class(board)
    assert figure is not None
    (axes,) = figure.axes
    for row, bars in zip(board.best_of_each, axes.containers, strict=True):
        stored = json.loads((row.run_folder / "result.json").read_text())
        assert [bar.get_height() for bar in bars] == pytest.approx(stored["per_class"]["test/AP"])  # type: ignore[attr-defined]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == stored["class_names"]


def test_precision_recall_agrees_with_average_precision(board: Leaderboard) -> None:
    figure = draw_precision_recall(board)
    assert figure is not None
    assert len(figure.axes) == 6
    stored = {row.method: json.loads((row.run_folder / "result.json").read_text()) for row in board.best_of_each}
    for axes in figure.axes[1:]:
        for text in axes.get_legend_handles_labels()[1]:
            method, shown = text.split()
            place = stored[method]["class_names"].index(axes.get_title(loc="left") or axes.get_title())
            assert float(shown) == pytest.approx(stored[method]["per_class"]["test/AP"][place], abs=0.06)


def test_a_parameter_that_decides_everything_has_all_the_importance(board: Leaderboard) -> None:
    """Objective = log10 of the learning rate: nothing else may matter, whatever Optuna calls the parameters."""
    template = board.ranked[0]
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        method, lr = ("an", "role")[number % 2], 10 ** rng.uniform(-5, -1)
        values = {"method.name": method, "optim.lr": lr, "optim.batch_size": int(rng.choice([8, 16]))}
        values |= {"method.lr_mult": rng.uniform(1, 30)} if method == "role" else {}
        rows.append(replace(template, number=number, values=values, config=None, objective=float(np.log10(lr))))
    found = importances(replace(board, rows=tuple(rows), log_paths=("optim.lr",)))
    assert set(found) == {ALL, "an", "role"}
    for shares in found.values():
        assert shares["optim.lr"] > 0.85
        assert sum(shares.values()) == pytest.approx(1)
    assert "method.lr_mult" in found["role"]
    assert "method.lr_mult" not in found[ALL]


def test_the_importance_of_thousands_of_trials_takes_seconds(board: Leaderboard) -> None:
    """Objective = 3 x + y, uniform: nine tenths of its variance are x's, one tenth y's."""
    template = board.ranked[0]
    rows = []
    for number, (x, y) in enumerate(np.random.default_rng(0).uniform(size=(2000, 2))):
        values = {"method.name": template.method, "optim.lr": float(x), "optim.weight_decay": float(y)}
        rows.append(replace(template, number=number, values=values, config=None, objective=float(3 * x + y)))
    begin = time.process_time()
    shares = importances(replace(board, rows=tuple(rows)))[ALL]
    assert shares == pytest.approx({"optim.lr": 0.9, "optim.weight_decay": 0.1}, abs=0.02)
    assert time.process_time() - begin < 40  # 4 s; trees of any depth take minutes


def test_importance_is_silent_on_too_few_or_equal_trials(board: Leaderboard) -> None:
    few = replace(board, rows=board.rows[:3])
    assert importances(few) == {}
    assert draw_importance(few) is None
    equal = replace(board, rows=tuple(replace(row, objective=1.0) for row in board.ranked))
    assert importances(equal) == {}
