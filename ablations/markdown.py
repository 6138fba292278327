"""``report.md``: the conclusion in words, then the tables, then how they were computed."""

from collections.abc import Sequence
from pathlib import Path

from ablations.summary import CellSummary, GridSummary
from ablations.wording import NONE, conclusion, interval, mean_and_std, p_text, protocol, runs_text

_TITLES = {
    "intervals": "Every cell with its runs",
    "interaction": "How the factors act together",
    "class_differences": "Difference by class",
    "critical_difference": "Average ranks",
    "best_of_k": "What a smaller tuning budget would have found",
}
_EXACT = (
    "Of the trial that the search's own objective chooses among k of its trials, drawn at random without replacement; "
    "exact, by order statistics."
)
_BUDGETS = (1, 2, 5, 10, 20, 50, 100)


def markdown(summary: GridSummary, figures: Sequence[Path]) -> str:
    """Return the report.

    Args:
        summary: the numbers.
        figures: pictures, shown by paths relative to the report's folder.
    """
    outcome = summary.outcome
    lines = [f"# {outcome.name}", "", *([outcome.description, ""] if outcome.description else [])]
    if outcome.clean:
        lines += ["> **Selected on clean labels**, which the label setting does not provide.", ""]
    lines += [
        "## Conclusion",
        "",
        *(f"- {sentence}" for sentence in conclusion(summary)),
        "",
        " ".join(protocol(summary)),
    ]
    for block in summary.blocks:
        lines += ["", f"## {outcome.metric}" + (f", {outcome.blocks} {block}" if block else ""), ""]
        lines += _table(summary, summary.of_block(block))
    lines += [
        "",
        "`n`: finished runs (seeds x label draws). Intervals of the mean and of the difference are over seeds ",
    ]
    lines[-1] += "and label draws, those named images are over test images of these very runs (bootstrap). "
    lines[-1] += f"`{NONE}`: cannot be said, as the deviation of one run."
    lines += _ranks(summary) + _budgets(summary)
    for figure in figures:
        if figure.suffix == ".png":
            title = next(title for stem, title in _TITLES.items() if figure.stem.startswith(stem))
            lines += ["", f"## {title}", "", f"![{title}](figures/{figure.name})"]
    return "\n".join(lines) + "\n"


def _table(summary: GridSummary, cells: Sequence[CellSummary]) -> list[str]:
    head = ["place", "cell", "n", "mean ± std", "95 %", "95 %, images"]
    head += ["difference", "95 % ", "95 %, images ", "p", "p (Holm)", ""]
    lines = [_row(head), _row(["---:", "---", *["---:"] * 9, "---"])]
    ordered = sorted(cells, key=lambda cell: (cell.place is None, cell.place or 0))
    for cell in ordered:
        d = cell.difference
        row = [
            NONE if cell.place is None else str(cell.place),
            summary.name_of(cell),
            runs_text(cell),
            mean_and_std(cell),
        ]
        row += [interval(cell.interval), interval(cell.images)]
        if d is None:
            row += [NONE] * 5 + ["baseline" if cell.baseline else ""]
        else:
            row += [
                f"{d.mean:+.2f}",
                interval(d.interval, True),
                interval(d.images, True),
                p_text(d.p),
                p_text(d.p_holm),
            ]
            row += ["significant" if d.significant else "not significant" if d.p_holm is not None else "not tested"]
        if not cell.complete:
            row[-1] = f"{row[-1]}, incomplete".removeprefix(", ")
        lines.append(_row(row))
    return lines


def _ranks(summary: GridSummary) -> list[str]:
    ranking = summary.ranking
    if ranking is None:
        return []
    lines = [
        "",
        f"## Ranks across {summary.outcome.blocks}",
        "",
        _row(["average rank", "treatment"]),
        _row(["---:", "---"]),
    ]
    ranked = sorted(zip(ranking.average, ranking.names, strict=True))
    lines += [_row([f"{average:.2f}", name]) for average, name in ranked]
    k, n = len(ranking.names), len(ranking.blocks)
    text = f"{n} blocks, all of them with a figure of each treatment. "
    if ranking.chi_square is not None and ranking.f is not None:
        text += f"Friedman chi-square({k - 1}) = {ranking.chi_square:.2f}, p = {p_text(ranking.p_friedman)}; "
        text += f"Iman-Davenport F({k - 1}, {(k - 1) * (n - 1)}) = {ranking.f:.2f}, "
        text += f"p = {p_text(ranking.p_iman_davenport)}. "
    text += f"Average ranks further apart than {ranking.critical_difference:.2f} differ (Nemenyi, 0.05)."
    return [*lines, "", text.replace("= <", "<")]


def _budgets(summary: GridSummary) -> list[str]:
    """Expected test mAP of the chosen trial by budget."""
    searched = [(cell.label, cell.best_of_k) for cell in summary.cells if cell.best_of_k and cell.best_of_k.test]
    if not searched:
        return []
    most = max(len(found.test) for _, found in searched)
    budgets = [k for k in _BUDGETS if k < most] + [most]
    lines = [
        "",
        "## Expected test mAP by tuning budget",
        "",
        _EXACT,
        "",
        _row(["cell", *(f"k = {k}" for k in budgets)]),
    ]
    lines.append(_row(["---", *["---:"] * len(budgets)]))
    for label, found in searched:
        lines.append(_row([label, *(f"{found.test[k - 1]:.2f}" if k <= len(found.test) else NONE for k in budgets)]))
    return lines


def _row(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entry.strip().replace("|", r"\|") for entry in entries) + " |"
