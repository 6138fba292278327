"""The critical-difference diagram: average ranks on a line, bars over treatments that no test tells apart."""

from typing import TYPE_CHECKING

from ablations.summary import GridSummary
from plml.tracking_view import PALETTE
from tune.drawing import MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_critical_difference(summary: GridSummary) -> "Figure | None":
    """Average ranks across blocks, best on the left; a bar joins ranks within Nemenyi's critical difference."""
    ranking = summary.ranking
    if ranking is None:
        return None
    k = len(ranking.names)
    order = sorted(range(k), key=lambda place: (ranking.average[place], place))
    half = (k + 1) // 2
    cliques = ranking.cliques()
    floor = -0.75 - 0.28 * len(cliques)  # where names begin
    figure, (axes,) = new_figure(9, 1.9 + 0.3 * half + 0.16 * len(cliques))
    axes.plot([1, k], [0, 0], color="black", linewidth=1)
    for tick in range(1, k + 1):
        axes.plot([tick, tick], [0, 0.12], color="black", linewidth=1)
        axes.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=9)
    reach = 0.06 * (k - 1)
    for number, place in enumerate(order):
        left = number < half
        level = floor - 0.5 * (number if left else k - 1 - number)
        x, end = ranking.average[place], 1 - reach if left else k + reach
        axes.plot([x, x, end], [0, level, level], color=MUTED, linewidth=0.9)
        text = f"{ranking.names[place]}  {x:.2f}" if left else f"{x:.2f}  {ranking.names[place]}"
        axes.text(
            end + (-0.01 if left else 0.01) * k, level, text, ha="right" if left else "left", va="center", fontsize=9
        )
    for number, clique in enumerate(cliques):
        ranks = [ranking.average[place] for place in clique]
        height = -0.35 - 0.28 * number
        axes.plot(
            [min(ranks) - 0.02, max(ranks) + 0.02], [height] * 2, color=PALETTE[0], linewidth=4, solid_capstyle="round"
        )
    width = min(ranking.critical_difference, k - 1)
    axes.plot([1, 1 + width], [1.0, 1.0], color="black", linewidth=1.4, marker="|", markersize=7)
    wider = "" if width == ranking.critical_difference else ", wider than the scale"
    axes.text(1, 1.18, f"critical difference {ranking.critical_difference:.2f}{wider}", fontsize=9, va="bottom")
    beside = (k - 1) * max(0.25, 0.14 + 0.022 * max(map(len, ranking.names)))
    axes.set(xlim=(1 - beside, k + beside), ylim=(floor - 0.5 * half, 1.7))
    axes.axis("off")
    stamp = " (selected on clean labels)" if summary.outcome.clean else ""
    axes.set_title(
        f"{summary.outcome.name}: average ranks over {len(ranking.blocks)} levels of {summary.outcome.blocks}{stamp}"
    )
    return figure
