"""How often the statistics of grids are wrong, by simulation: false alarms, power, coverage.

``python benchmarks/calibration.py`` prints the tables of docs/statistics.md (some minutes).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ablations.crossed import Pair, crossed  # noqa: E402
from ablations.image_bootstrap import ImageBootstrap  # noqa: E402
from ablations.pooled import pooled  # noqa: E402
from ablations.seed_bootstrap import bootstrap_interval  # noqa: E402
from ablations.significance import TestName, holm, p_value  # noqa: E402
from plml.image_resamples import bias_corrected_interval  # noqa: E402
from plml.weighted_precision import weighted_mean_average_precision  # noqa: E402

LEVEL = 0.05
STRENGTHS = {"none": 0.0, "weak": 0.5, "strong": 2.0}
DESIGNS = ("3x1", "3x2", "3x3", "5x3", "6 pairs", "9 pairs")
TESTS: tuple[TestName, ...] = ("crossed_t", "pooled_t", "paired_t")


@dataclass(frozen=True)
class World:
    """A grid without any effect, unless one is put in.

    Attributes:
        design: ``SxD``: seeds crossed with label draws; ``N pairs``: a seed and a draw of its own for every run.
        cells: how many, the baseline among them.
        seed_effect: standard deviation of what a seed does to one cell and not to another; the residual has 1.
        draw_effect: the same of a label draw.
        effect: added to every cell but the baseline.
    """

    design: str
    cells: int = 4
    seed_effect: float = 0.0
    draw_effect: float = 0.0
    effect: float = 0.0

    @property
    def pairs(self) -> list[Pair]:
        """The (seed, label draw) of each run."""
        if self.design.endswith("pairs"):
            return [(i, i) for i in range(int(self.design.split()[0]))]
        seeds, draws = map(int, self.design.split("x"))
        return [(seed, draw) for seed in range(seeds) for draw in range(draws)]

    def draw(self, generator: np.random.Generator) -> list[dict[Pair, float]]:
        """Return the figures of each cell, the baseline first."""
        pairs = np.array(self.pairs)
        many = (self.cells, pairs.max() + 1)
        by_seed, by_draw = generator.normal(0, self.seed_effect, many), generator.normal(0, self.draw_effect, many)
        shared = generator.normal(0, 3, (2, pairs.max() + 1))  # of seed and draw on all cells: cancels in differences
        figures = by_seed[:, pairs[:, 0]] + by_draw[:, pairs[:, 1]] + generator.normal(0, 1, (self.cells, len(pairs)))
        figures += shared[0, pairs[:, 0]] + shared[1, pairs[:, 1]]
        figures[1:] += self.effect
        return [dict(zip(self.pairs, map(float, row), strict=True)) for row in figures]


def rejections(world: World, test: TestName, replicates: int, seed: int = 0) -> tuple[float, float]:
    """Return how often one comparison has p < 0.05, and how often any of the grid's has after Holm's correction."""
    generator = np.random.default_rng(seed)
    single, family = 0, 0
    for _ in range(replicates):
        base, *others = world.draw(generator)
        differences = [{pair: cell[pair] - base[pair] for pair in cell} for cell in others]
        ps = [_p_value([base, *others], one, test) for one in differences]
        single += sum(p is not None and p < LEVEL for p in ps)
        family += any(p is not None and p < LEVEL for p in holm(ps))
    return single / (replicates * (world.cells - 1)), family / replicates


def _p_value(cells: Sequence[dict[Pair, float]], difference: dict[Pair, float], test: TestName) -> float | None:
    found = pooled(cells, fmean(difference.values())) if test == "pooled_t" else None
    return found.p_value() if found else p_value(difference, test)


def seed_coverage(runs: int, replicates: int, seed: int = 0) -> tuple[float, float]:
    """Return how often 95 % intervals of the mean of normal runs hold the truth: t, bootstrap."""
    generator = np.random.default_rng(seed)
    hits = np.zeros(2)
    for _ in range(replicates):
        values = generator.normal(size=runs).tolist()
        found = [crossed({(i, 0): v for i, v in enumerate(values)}).interval(), bootstrap_interval(values)]
        hits += [interval is not None and interval[0] <= 0 <= interval[1] for interval in found]
    return tuple(hits / replicates)


def image_coverage(
    images: int, classes: int, prevalence: float, replicates: int, seed: int = 0
) -> tuple[float, float, float]:
    """Return how often intervals over test images hold the expected mAP: bias-corrected, percentile; and their width.

    Scores of positives are normal around 2, of negatives around 0. What is expected is the mean mAP of test sets of
    this size.
    """
    generator = np.random.default_rng(seed)

    def test_set() -> tuple[NDArray[Any], NDArray[Any]]:
        labels = (generator.random((images, classes)) < prevalence).astype(np.int8)
        return (generator.normal(size=labels.shape) + 2.0 * labels).astype(np.float32), labels

    once = np.ones((images, 1))
    truth = float(np.mean([weighted_mean_average_precision(*test_set(), once)[0] for _ in range(5 * replicates)]))
    hits, width = np.zeros(2), 0.0
    for replicate in range(replicates):
        values = weighted_mean_average_precision(*test_set(), ImageBootstrap(400, seed=replicate).weights(images))
        low, high = bias_corrected_interval(values) or (np.nan, np.nan)
        plain = np.quantile(values[1:], [0.025, 0.975])
        hits += [low <= truth <= high, plain[0] <= truth <= plain[1]]
        width += (high - low) / replicates
    return (*(hits / replicates), width)


def _false_alarms(replicates: int) -> list[Table]:
    strengths = [("none", "none"), ("weak", "weak"), ("none", "strong"), ("strong", "none"), ("strong", "strong")]
    table = Table(
        title="False alarms, percent: a comparison (any of three after Holm). Effects: seed x method, draw x method"
    )
    for name in ("design", "seed", "draw", *TESTS):
        table.add_column(name)
    for design in DESIGNS:
        for by_seed, by_draw in strengths:
            world = World(design, seed_effect=STRENGTHS[by_seed], draw_effect=STRENGTHS[by_draw])
            found = [rejections(world, test, replicates) for test in TESTS]
            table.add_row(design, by_seed, by_draw, *(f"{100 * one:.1f} ({100 * any_:.1f})" for one, any_ in found))
    return [table]


def _power(replicates: int) -> list[Table]:
    title = "Power, percent: three cells 3 residual deviations above the baseline, at least one found after Holm"
    table = Table("design", "runs", "effects", "crossed_t", "pooled_t", title=title)
    for design in DESIGNS:
        for name, by_seed, by_draw in (("none", 0.0, 0.0), ("weak", 0.5, 0.5), ("draws strong", 0.0, 2.0)):
            world = World(design, seed_effect=by_seed, draw_effect=by_draw, effect=3.0)
            found = (f"{100 * rejections(world, test, replicates)[1]:.0f}" for test in TESTS[:2])
            table.add_row(design, str(len(world.pairs)), name, *found)
    return [table]


def _coverage(replicates: int) -> list[Table]:
    runs = Table("runs", "t", "bootstrap (BCa)", title="Coverage of 95 % intervals over runs, percent")
    for number in (2, 3, 4, 5, 6, 10):
        runs.add_row(str(number), *(f"{100 * share:.1f}" for share in seed_coverage(number, replicates)))
    images = Table("images", "classes", "positives", "bias-corrected", "percentile", "width", title="Over test images")
    for size, classes, prevalence in ((150, 5, 0.25), (500, 20, 0.05), (2000, 20, 0.05), (5000, 20, 0.07)):
        corrected, plain, width = image_coverage(size, classes, prevalence, min(400, replicates))
        shown = (f"{100 * prevalence:.0f} %", f"{100 * corrected:.1f}", f"{100 * plain:.1f}", f"{width:.2f}")
        images.add_row(str(size), str(classes), *shown)
    return [runs, images]


def main(argv: Sequence[str] | None = None) -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000)
    replicates = parser.parse_args(argv).replicates
    console = Console(width=120)
    for tables in (_coverage, _power, _false_alarms):
        for table in tables(replicates):
            console.print(table)


if __name__ == "__main__":
    main()
