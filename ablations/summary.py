"""Every number that tables, figures and MLflow show of a grid, computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from ablations.best_of_k import BestOfK, best_of_k
from ablations.comparison import Difference, Interval, compare, figures_of
from ablations.image_bootstrap import ImageBootstrap
from ablations.outcome import CellOutcome, GridOutcome
from ablations.ranking import Ranking, rank
from ablations.seed_bootstrap import bootstrap_interval
from ablations.significance import TestName, check_test, holm, spread
from plml.image_resamples import bias_corrected_interval


@dataclass(frozen=True)
class CellSummary:
    """Figures of one cell in percent.

    Attributes:
        label: the cell's name.
        block: level of its block, "" without blocks.
        levels: factor -> level.
        n: finished runs that have the figure.
        planned: runs asked for.
        seeds: different seeds among them.
        draws: different label draws among them.
        mean: over runs; None without a run.
        std: over runs, n - 1 in the denominator; None with less than two.
        interval: 95 % of the mean over seeds and draws within 0..100, what is printed.
        bootstrap: 95 % over runs by bootstrap, too narrow with few runs.
        images: 95 % over test images by bootstrap.
        place: 1 for the highest mean of its block, equal means sharing the better place; None without a run.
        baseline: it is what its block is compared with.
        difference: to the baseline; None for the baseline itself, and where they share no pair.
        best_of_k: of its search; None without one.
    """

    label: str
    block: str
    levels: Mapping[str, str]
    n: int
    planned: int
    seeds: int
    draws: int
    mean: float | None
    std: float | None
    interval: Interval | None
    bootstrap: Interval | None
    images: Interval | None
    place: int | None
    baseline: bool
    difference: Difference | None
    best_of_k: BestOfK | None

    @property
    def complete(self) -> bool:
        """Whether every run that was asked for has its figure."""
        return self.n >= self.planned

    def figures(self) -> dict[str, float]:
        """Return the numbers that exist under names for a metrics store, ``mean``, ``difference/p_holm``, ..."""
        named: dict[str, float | None] = {"n": float(self.n), "mean": self.mean, "std": self.std}
        for name, interval in (("interval", self.interval), ("bootstrap", self.bootstrap), ("images", self.images)):
            named |= _ends(name, interval)
        named["place"] = None if self.place is None else float(self.place)
        if (d := self.difference) is not None:
            named |= {"difference/mean": d.mean, "difference/n": float(d.n), "difference/p": d.p}
            named |= {"difference/p_holm": d.p_holm, **_ends("difference/interval", d.interval)}
            named |= _ends("difference/images", d.images)
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class GridSummary:
    """All numbers of a grid.

    Attributes:
        outcome: what they were computed from.
        test: what p values are of.
        cells: in the order of the grid.
        ranking: across blocks; None without at least two blocks in which at least two treatments have figures.
        blocks: names of the blocks, ("",) without blocks.
    """

    outcome: GridOutcome
    test: TestName
    cells: tuple[CellSummary, ...]
    ranking: Ranking | None
    blocks: tuple[str, ...]

    def of_block(self, block: str) -> tuple[CellSummary, ...]:
        """Return the block's cells in the order of the grid."""
        return tuple(cell for cell in self.cells if cell.block == block)

    def best(self, block: str) -> CellSummary | None:
        """Return the first cell with the highest mean of the block."""
        return next((cell for cell in self.of_block(block) if cell.place == 1), None)

    def name_of(self, cell: CellSummary) -> str:
        """Return the cell's name among those of its block: its levels without the block's."""
        factors = [name for name in self.outcome.factors if name in cell.levels and name != self.outcome.blocks]
        return ", ".join(cell.levels[name] for name in factors) or cell.label if self.outcome.blocks else cell.label

    @property
    def suffix(self) -> str:
        """What every file's name carries if labels chose that the setting does not have."""
        return "-selected-on-clean" if self.outcome.clean else ""


def summarise(outcome: GridOutcome, *, test: str = "crossed_t", resamples: int = 1000) -> GridSummary:
    """Return every number of the grid; the same outcome gives the same numbers.

    Args:
        outcome: finished runs, perhaps not yet all.
        test: ``crossed_t``, ``pooled_t``, ``paired_t``, ``wilcoxon`` or ``permutation``, see
            :func:`ablations.significance.p_value`.
        resamples: of the bootstrap over images.

    Raises:
        ConfigError: no such test.
        DataError: test scores of a run that do not fit its labels.
    """
    name = check_test(test)
    bootstrap = ImageBootstrap(resamples)
    raw = {cell.label: compare(outcome, cell, bootstrap, name) for cell in outcome.cells}
    blocks = tuple(dict.fromkeys(outcome.block_of(cell) for cell in outcome.cells))
    corrected: dict[str, float | None] = {}
    for block in blocks:
        compared = [c.label for c in outcome.cells if outcome.block_of(c) == block and raw[c.label] is not None]
        ps = [found.p for label in compared if (found := raw[label]) is not None]
        corrected |= dict(zip(compared, holm(ps), strict=True))
    cells = tuple(
        _summary(outcome, cell, bootstrap, name, raw[cell.label], corrected.get(cell.label)) for cell in outcome.cells
    )
    return GridSummary(outcome, name, cells, _ranking(outcome), blocks)


def _summary(
    outcome: GridOutcome,
    cell: CellOutcome,
    bootstrap: ImageBootstrap,
    test: TestName,
    difference: Difference | None,
    p_holm: float | None,
) -> CellSummary:
    figures = figures_of(outcome, cell)
    values = list(figures.values())
    block = outcome.block_of(cell)
    rivals = [_mean(outcome, other) for other in outcome.cells if outcome.block_of(other) == block]
    mean = _mean(outcome, cell)
    resampled = bootstrap.of_cell(cell) if outcome.metric == "test/mAP" else None
    if difference is not None:
        difference = replace(difference, p_holm=p_holm)
    return CellSummary(
        label=cell.label,
        block=block,
        levels=cell.levels,
        n=len(values),
        planned=cell.planned,
        seeds=len({seed for seed, _ in figures}),
        draws=len({draw for _, draw in figures}),
        mean=mean,
        std=stdev(values) if len(values) > 1 else None,
        interval=_possible(spread(figures, test).interval()) if figures else None,
        bootstrap=bootstrap_interval(values),
        images=None if resampled is None else bias_corrected_interval(resampled),
        place=None if mean is None else 1 + sum(other is not None and other > mean for other in rivals),
        baseline=outcome.baseline_of(cell) is cell,
        difference=difference,
        best_of_k=best_of_k(cell.trials),
    )


def _mean(outcome: GridOutcome, cell: CellOutcome) -> float | None:
    figures = figures_of(outcome, cell)
    return fmean(figures.values()) if figures else None


def _ranking(outcome: GridOutcome) -> Ranking | None:
    """Rank treatments over the blocks in which all of them have figures; those without any figure are left out."""
    if not outcome.blocks:
        return None
    means = {
        (outcome.treatment_of(cell), outcome.block_of(cell)): mean
        for cell in outcome.cells
        if (mean := _mean(outcome, cell)) is not None
    }
    treatments = list(dict.fromkeys(treatment for treatment, _ in means))
    names = [", ".join(treatment) for treatment in treatments]
    blocks = [block for block in dict.fromkeys(b for _, b in means) if all((t, block) in means for t in treatments)]
    figures = np.array([[means[treatment, block] for treatment in treatments] for block in blocks])
    return rank(names, blocks, figures) if len(blocks) > 1 else None


def _possible(interval: Interval | None) -> Interval | None:
    """Cut an interval to what a percentage can be."""
    return None if interval is None else (max(0.0, interval[0]), min(100.0, interval[1]))


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {} if interval is None else {f"{name}_low": interval[0], f"{name}_high": interval[1]}
