"""Pictures of the best runs class by class: average precision, and precision by recall."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plml.errors import DamagedError
from plml.stored_runs import read_scores
from plml.tracking_view import method_colors
from tune.drawing import GRID, headline, new_figure, one_legend
from tune.standings import Leaderboard, Row, read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

MAX_CLASSES = 40  # bars of more classes cannot be read; those on which the methods differ most are kept
PR_CLASSES = 5


def draw_per_class(board: Leaderboard) -> "Figure | None":
    """Test average precision of every class, best run of each method side by side."""
    results = {row.method: result for row in board.best_of_each if (result := read_result(row.run_folder))}
    if not results:
        return None
    names: list[str] = next(iter(results.values()))["class_names"]
    table = np.array([[_number(ap) for ap in result["per_class"]["test/AP"]] for result in results.values()])  # (M, L)
    kept = np.arange(len(names))
    if len(names) > MAX_CLASSES:
        spread = np.nan_to_num(table.max(0) - table.min(0))
        kept = np.sort(np.argsort(-spread, kind="stable")[:MAX_CLASSES])
    colors = method_colors(board.methods)
    width = 0.8 / len(results)
    figure, (axes,) = new_figure(max(6.0, 2.0 + 0.16 * len(kept) * (len(results) + 1)), 4.4)
    for place, (method, aps) in enumerate(zip(results, table, strict=True)):
        at = np.arange(len(kept)) + (place - (len(results) - 1) / 2) * width
        axes.bar(at, aps[kept], width, color=colors[method], label=f"{method} (mAP {np.nanmean(aps):.1f})")
    left_out = f", the {MAX_CLASSES} on which methods differ most" if len(kept) < len(names) else ""
    axes.set(title=f"{board.study}: test average precision by class{left_out}", ylabel="AP, percent", ylim=(0, 100))
    long = max(len(names[i]) for i in kept) > 5
    axes.set_xticks(
        np.arange(len(kept)), [names[i] for i in kept], rotation=60 if long else 0, ha="right" if long else "center"
    )
    axes.margins(x=0.01)
    axes.grid(axis="y", **GRID)
    one_legend(figure, axes)
    return figure


def draw_precision_recall(board: Leaderboard) -> "Figure | None":
    """Precision by recall on test: all labels pooled, then classes from hard to easy."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    scored = {row.method: found for row in board.best_of_each if (found := _test_scores(row))}
    if not scored:
        return None
    best = next(row for row in board.best_of_each if row.method in scored)
    names = (read_result(best.run_folder) or {}).get("class_names") or [
        str(i) for i in range(scored[best.method][1].shape[1])
    ]
    panels: list[tuple[str, int | None]] = [("all labels pooled", None)]
    panels += [(names[i], i) for i in _spread_classes(*scored[best.method])]
    figure, axes_row = new_figure(2.7 * len(panels) + 0.6, 3.4, len(panels), sharey=True)
    colors = method_colors(board.methods)
    for axes, (title, column) in zip(axes_row, panels, strict=True):
        for method, (scores, labels) in scored.items():
            picked = (scores, labels) if column is None else (scores[:, column], labels[:, column])
            known = picked[1] >= 0
            truth, values = picked[1][known], picked[0][known]
            if not truth.any():
                continue
            precision, recall, _ = precision_recall_curve(truth, values)
            ap = 100 * average_precision_score(truth, values)
            axes.plot(100 * recall, 100 * precision, color=colors[method], linewidth=1.6, label=f"{method} {ap:.1f}")
        axes.set(title=title, xlabel="recall, percent", xlim=(0, 100), ylim=(0, 102))
        axes.grid(**GRID)
        axes.legend(loc="upper right", fontsize=8, title="AP", title_fontsize=8, handlelength=1.2)
    axes_row[0].set_ylabel("precision, percent")
    headline(figure, f"{board.study}: precision and recall on test, best run of each method")
    return figure


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _test_scores(row: Row) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Test logits and labels (N, L) of the trial's chosen epoch."""
    scores, labels = row.run_folder / "scores" / "test.npy", row.run_folder / "scores" / "test_labels.npy"
    if not (scores.is_file() and labels.is_file()):
        return None
    try:
        return read_scores(scores), read_scores(labels)
    except DamagedError as error:
        logger.warning("%s: left out of the figure; %s", row.key, error)
        return None


def _spread_classes(scores: NDArray[Any], labels: NDArray[Any]) -> list[int]:
    """Classes from the hardest to the easiest, evenly spaced in their rank."""
    from sklearn.metrics import average_precision_score

    known = [labels[:, i] >= 0 for i in range(labels.shape[1])]
    aps = {
        i: average_precision_score(labels[k, i], scores[k, i]) for i, k in enumerate(known) if (labels[k, i] == 1).any()
    }
    ranked = sorted(aps, key=aps.__getitem__)
    picked = np.linspace(0, len(ranked) - 1, min(PR_CLASSES, len(ranked))).round().astype(int)
    return [ranked[i] for i in picked]
