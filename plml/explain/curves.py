"""Curves of label correction by epoch, several runs in one figure.

On the left the mean loss of the assumed label, of false and true negatives: a network that fits its false negatives
brings their loss down to that of the true ones (Large Loss Matters, CVPR 2022, arXiv:2206.03740, figure 1). On the
right how many of the labels that a method corrects were assumed wrongly, and how many of those it finds.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plml.diagnostics import PREFIX
from plml.report_log import read_reports
from plml.tracking_view import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = list[tuple[int, float]]  # (epoch from 1, value)

LOSSES = {
    "loss_false_negatives": ("false negatives", "-"),
    "loss_true_negatives": ("true negatives", "--"),
    "loss_observed_positives": ("observed positives", ":"),
}
QUALITIES = {"precision": ("precision", "-"), "recall": ("recall", "--")}


def read_curves(run_folder: Path) -> dict[str, Series]:
    """Return ``{figure: [(epoch, value)]}`` of a run's diagnostics; empty if it was not asked for any."""
    curves: dict[str, Series] = {}
    for report in read_reports(run_folder):
        for name, value in report.metrics.items():
            if name.startswith(f"{PREFIX}/"):
                curves.setdefault(name.removeprefix(f"{PREFIX}/"), []).append((report.epoch + 1, value))
    return curves


def curves_figure(runs: Mapping[str, Mapping[str, Series]]) -> "Figure":
    """Return the figure: losses, then precision and recall of the pseudo-labels of each kind that any run makes.

    Args:
        runs: by the name of the run, what :func:`read_curves` returns.
    """
    from matplotlib.figure import Figure

    kinds = [kind for kind in ("positive", "negative") if any(_has(curves, kind) for curves in runs.values())]
    figure = Figure(figsize=(4.6 * (1 + len(kinds)), 3.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(kinds), squeeze=False)[0]
    colors = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(runs)}
    for name, curves in runs.items():
        for key, (_, style) in LOSSES.items():
            _line(first, curves.get(key, ()), colors[name], style)
    _finish(first, "Loss by kind of label", "mean cross entropy (nats)")
    first.set_yscale("log")  # what a method corrects rises far above the rest
    _styles(first, LOSSES.values())
    for axes, kind in zip(others, kinds, strict=True):
        for name, curves in runs.items():
            for part, (_, style) in QUALITIES.items():
                _line(axes, curves.get(f"pseudo_{kind}_{part}", ()), colors[name], style)
        _finish(axes, f"Pseudo-{kind} labels", "percent")
        axes.set_ylim(-2, 102)
        _styles(axes, QUALITIES.values())
    handles = [first.plot([], [], color=color, linewidth=2.5, label=name)[0] for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(runs), 6), fontsize=9, frameon=False)
    return figure


def _has(curves: Mapping[str, Series], kind: str) -> bool:
    return f"pseudo_{kind}_share" in curves


def _line(axes: "Axes", series: Sequence[tuple[int, float]], color: str, style: str) -> None:
    if series:
        epochs, values = zip(*series, strict=True)
        marker = "o" if len(series) == 1 else None
        axes.plot(epochs, values, color=color, linestyle=style, linewidth=1.8, marker=marker)


def _finish(axes: "Axes", title: str, what: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10.5, loc="left", fontweight="bold")
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_ylabel(what, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _styles(axes: "Axes", styles: Collection[tuple[str, str]]) -> None:
    """Explain the line styles in grey; colours stand for runs."""
    handles = [axes.plot([], [], color="#555555", linestyle=style, label=label)[0] for label, style in styles]
    axes.legend(handles=handles, fontsize=8, framealpha=0.85, edgecolor="none", loc="best")
