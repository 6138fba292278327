"""How MLflow shows a grid: a page of its cells, which answers what is better, and a page of its runs by cell.

MLflow can group runs by cell and show means, but a group has no deviation, no difference and no p value, and no line in
the parallel coordinates. The cells' own runs have all of these, and the mean learning curves, too.
"""

from typing import TYPE_CHECKING

from ablations.factors import Factor
from ablations.grid import Grid

if TYPE_CHECKING:
    from plml.tracking import Tracker

RUNS_KEY = "plml-runs"  # of the page that shows runs grouped by cell


def factor_param(factor: str) -> str:
    """Return the parameter that holds a cell's level of ``factor``.

    Its upper case sorts it before the configuration's parameters, so the compare page, which opens on the first three
    that differ, opens on factors. ``Method`` is there already.
    """
    return "Method" if factor == "method.name" else f"Factor {factor}"


def publish_pages(grid: Grid, tracker: "Tracker", experiment: str) -> None:
    """Set up both pages.

    Raises:
        TrackingError: the store does not take them.
    """
    metric = grid.config.metric
    varied = [name for name, factor in grid.factors.items() if len(factor.levels) > 1]
    always = [name for name in varied if all(name in cell.levels for cell in grid.cells)]
    numeric = [factor_param(name) for name in always if _is_numeric(grid.factors[name])]
    levels = [factor_param(name) for name in varied]
    difference = f"{metric}/difference"
    tracker.publish_view(
        experiment,
        metric=metric,
        maximize=True,
        axes=[factor_param(name) for name in always] or ["cell"],
        columns=levels,
        kind="cell",
        figures=[metric, f"{difference}/mean"],
        against=("selection/best", metric),
        numbers=[metric, f"{metric}/std", f"{metric}/n", f"{difference}/mean", f"{difference}/p_holm"],
        learning=["val/mAP", "selection/value"],
        contour=(numeric[0], numeric[1]) if len(numeric) > 1 else None,
    )
    tracker.publish_view(
        experiment,
        key=RUNS_KEY,
        metric=metric,
        maximize=True,
        axes=[],
        columns=["cell", *levels, "seed", "data.observation_seed"],
        kind="run",
        figures=[metric, "selection/best"],
        against=("selection/best", metric),
        learning=["val/mAP", "selection/value"],
        group_by="cell",
    )


def _is_numeric(factor: Factor) -> bool:
    return all(isinstance(level.value, int | float) and not isinstance(level.value, bool) for level in factor.levels)
