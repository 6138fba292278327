"""A cell against its baseline: differences over paired runs, with interval, p value and the classes they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from ablations.crossed import Crossed, Pair
from ablations.image_bootstrap import ImageBootstrap
from ablations.outcome import CellOutcome, GridOutcome, RunOutcome, paired_runs
from ablations.pooled import pooled
from ablations.significance import T_TESTS, TestName, p_value, spread
from plml.image_resamples import bias_corrected_interval

LEVEL = 0.05
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A cell minus its baseline, in points, over the (seed, label draw) pairs that both have.

    Attributes:
        baseline: its label.
        mean: of the differences.
        n: number of pairs.
        interval: 95 %, over seeds and draws; None with one pair.
        images: 95 %, paired bootstrap over test images; None without test scores.
        p: of the test; None where it cannot say anything.
        p_holm: corrected for all comparisons of the block.
        classes: mean difference of each class's AP, (L,); empty if the runs have none.
    """

    baseline: str
    mean: float
    n: int
    interval: Interval | None
    images: Interval | None
    p: float | None
    p_holm: float | None
    classes: tuple[float | None, ...]

    @property
    def significant(self) -> bool:
        """Whether it is, at 0.05 after Holm's correction."""
        return self.p_holm is not None and self.p_holm < LEVEL


def figures_of(outcome: GridOutcome, cell: CellOutcome) -> dict[Pair, float]:
    """Return the compared figure of each run that has it, {(seed, label draw): percent}."""
    found = {run.pair: figure for run in cell.runs if (figure := _figure(outcome, run)) is not None}
    return dict(sorted(found.items()))


def _figure(outcome: GridOutcome, run: RunOutcome) -> float | None:
    """Return the run's compared figure, None if it has none or one that is not a number."""
    value = run.metrics.get(outcome.metric)
    return None if value is None or not np.isfinite(value) else float(value)


def compare(outcome: GridOutcome, cell: CellOutcome, bootstrap: ImageBootstrap, test: TestName) -> Difference | None:
    """Return a cell minus its baseline, p values not yet corrected; None for the baseline or without a pair."""
    baseline = outcome.baseline_of(cell)
    if baseline is None or baseline is cell:
        return None
    differences = {
        pair: one - other
        for pair, mine, theirs in paired_runs(cell, baseline)
        if (one := _figure(outcome, mine)) is not None and (other := _figure(outcome, theirs)) is not None
    }
    if not differences:
        return None
    found = (_pooled(outcome, cell, differences) if test == "pooled_t" else None) or spread(differences, test)
    resampled = bootstrap.of_difference(cell, baseline) if outcome.metric == "test/mAP" else None
    return Difference(
        baseline=baseline.label,
        mean=found.mean,
        n=found.n,
        interval=found.interval(),
        images=None if resampled is None else bias_corrected_interval(resampled),
        p=found.p_value() if test in T_TESTS else p_value(differences, test),
        p_holm=None,
        classes=_class_differences(cell, baseline, differences),
    )


def _pooled(outcome: GridOutcome, cell: CellOutcome, differences: Mapping[Pair, float]) -> Crossed | None:
    """Return the difference with the variance of all cells of its block that have the same runs, drawn like it.

    None if it is not over all runs of both cells: then it has a variance of its own.
    """
    block = [c for c in outcome.cells if outcome.block_of(c) == outcome.block_of(cell) and c.drawn == cell.drawn]
    alike = [figures for c in block if set(figures := figures_of(outcome, c)) == set(differences)]
    baseline = outcome.baseline_of(cell)
    if baseline not in block or any(set(figures_of(outcome, c)) != set(differences) for c in (cell, baseline)):
        return None
    return pooled(alike, fmean(differences.values()))


def _class_differences(
    cell: CellOutcome, baseline: CellOutcome, pairs: Mapping[Pair, float]
) -> tuple[float | None, ...]:
    """Return the mean difference of each class's AP over the pairs; None where either has none."""
    both = [(mine.class_ap, theirs.class_ap) for pair, mine, theirs in paired_runs(cell, baseline) if pair in pairs]
    if not both or len({len(ap) for pair in both for ap in pair}) != 1:
        return ()
    columns = zip(
        *([None if a is None or b is None else a - b for a, b in zip(*pair, strict=True)] for pair in both), strict=True
    )
    return tuple(None if None in column else fmean(v for v in column if v is not None) for column in columns)
