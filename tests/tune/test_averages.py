"""Means over label settings, computed by hand."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from plml.config import make_config
from plml.terminal import Terminal
from tune.averages import averages
from tune.closing import _links
from tune.publishing import notes
from tune.standings import Leaderboard, Row
from tune.study import load_study

STUDY = Path(__file__).parents[2] / "tune" / "studies" / "known_fractions.yaml"


def row(method: str, fraction: float, objective: float, test: float | None = 50.0, state: str = "COMPLETE") -> Row:
    values = {"method.name": method, "data.observation.fraction": fraction}
    config = make_config({"data": {"observation": "known_fraction"}}, values)
    metrics = {} if test is None else {"test/mAP": test}
    key = f"{method}-{fraction}"
    return Row(key, 0, state, "", objective, values, config, metrics, objective, Path(key))


def board(*rows: Row, maximize: bool = True) -> Leaderboard:
    sign = -1.0 if maximize else 1.0
    ranked = sorted(rows, key=lambda r: (r.state != "COMPLETE", sign * (r.objective or 0.0)))
    return Leaderboard("known", "selection/best", maximize, tuple(ranked), (), Path("runs"))


ROWS = [
    row("an", 0.1, 20.0, 30.0),
    row("bce", 0.1, 40.0, 41.0),
    row("an", 0.9, 90.0, 80.0),
    row("bce", 0.9, 80.0, 81.0),
]


def test_the_mean_ranks_and_not_the_easiest_setting() -> None:
    first, second = averages(board(*ROWS))
    assert (first.method, first.objective, first.test_map) == ("bce", 60.0, 61.0)
    assert (second.method, second.objective, second.test_map) == ("an", 55.0, 55.0)
    assert first.complete
    assert first.settings == len(first.rows) == 2
    assert first.values == {"method.name": "bce"}
    assert [mean.method for mean in averages(board(*ROWS, maximize=False))] == ["an", "bce"]


def test_the_end_of_a_study_names_the_best_mean() -> None:
    screen = io.StringIO()
    console = Terminal(file=screen, width=200)
    _links(board(*ROWS), None, None, console)
    assert "mean      bce 60.00 over 2 label settings, best of 2; see runs/leaderboard.md" in screen.getvalue()


def test_a_mean_over_fewer_settings_stands_behind() -> None:
    unfinished = [*ROWS[:3], replace(ROWS[3], state="PRUNED")]
    first, second = averages(board(*unfinished))
    assert (first.method, first.complete) == ("an", True)
    assert (second.method, second.complete, second.objective) == ("bce", False, 40.0)
    table = [line for line in notes(board(*unfinished)).splitlines() if line.startswith("|")]
    assert table[2].split(" | ")[:5] == ["| 1", "an", "55.00", "55.00", "2 of 2 |"]
    assert table[3].split(" | ")[:5] == ["| -", "bce", "40.00", "41.00", "1 of 2 |"]


def test_a_missing_test_figure_is_not_averaged_over() -> None:
    first, _ = averages(board(*ROWS[:3], replace(ROWS[3], metrics={})))
    assert first.test_map is None


@pytest.mark.parametrize("rows", [[], ROWS[:2]])
def test_one_setting_has_no_mean(rows: list[Row]) -> None:
    assert averages(board(*rows)) == []
    assert "Mean over" not in notes(board(*rows))


def test_the_study_of_the_field_has_all_nine_fractions() -> None:
    study = load_study(STUDY)
    cells = [study.space.resolve(cell) for cell in study.space.cells()]
    fractions = {config.data.observation["fraction"] for config in cells}
    assert fractions == {tenth / 10 for tenth in range(1, 10)}
    assert {config.data.observation_seed for config in cells} == {0}
    assert len(cells) == 18
