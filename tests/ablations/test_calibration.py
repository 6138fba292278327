"""False alarms of the whole chain under no effect: paired differences, test, Holm. The script measures more."""

import runpy
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ablations.outcome import GridOutcome
from ablations.summary import summarise

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "calibration.py"))
World, rejections, seed_coverage = (SCRIPT[name] for name in ("World", "rejections", "seed_coverage"))
REPLICATES = 150
# A rate of 0.05 stays below this in 999 of 1,000 series of this length.
ALLOWED = 0.05 + 3.1 * (0.05 * 0.95 / REPLICATES) ** 0.5


@pytest.mark.parametrize(
    ("design", "effects"),
    [
        *product(("3x2", "5x3"), [(0.0, 0.0), (0.5, 0.5), (0.0, 2.0), (2.0, 0.0), (2.0, 2.0)]),
        *product(("3x1",), [(0.0, 0.0), (2.0, 0.0)]),  # one draw says nothing of others, and the report says so
    ],
)
def test_false_alarms_stay_below_their_level(design: str, effects: tuple[float, float]) -> None:
    world = World(design, seed_effect=effects[0], draw_effect=effects[1])
    _, family = rejections(world, "crossed_t", REPLICATES)
    assert family <= ALLOWED


def test_a_plain_t_test_would_raise_them_where_draws_matter() -> None:
    world = World("5x3", draw_effect=2.0)
    assert rejections(world, "paired_t", 100)[0] > 0.3
    assert rejections(world, "crossed_t", 100)[0] < 0.12


def test_effects_are_found() -> None:
    assert rejections(World("6 pairs", effect=3.0), "crossed_t", 50)[1] > 0.7
    assert rejections(World("5x3", effect=3.0), "crossed_t", 50)[1] > 0.75


def test_bootstrap_over_three_runs_is_too_narrow_and_t_is_not() -> None:
    t, bootstrap = seed_coverage(3, 300)
    assert t == pytest.approx(0.95, abs=0.04)
    assert bootstrap < 0.85


def test_simulation_and_summary_are_the_same_chain(make_grid) -> None:  # type: ignore[no-untyped-def]
    world = World("3x2", effect=8.0, draw_effect=0.5)
    cells = world.draw(np.random.default_rng(0))
    grid: GridOutcome = make_grid({f"c{i}": cell for i, cell in enumerate(cells)})
    found = summarise(grid)
    again = World("3x2", effect=8.0, draw_effect=0.5)
    _, family = rejections(again, "crossed_t", 1, seed=0)
    assert any(cell.difference is not None and cell.difference.significant for cell in found.cells) == bool(family)
