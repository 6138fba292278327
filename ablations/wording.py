"""Numbers and findings of a grid in words, the same in the report, the table's caption and the terminal."""

from collections.abc import Sequence

from ablations.comparison import Interval
from ablations.significance import DESCRIPTIONS
from ablations.summary import CellSummary, GridSummary

NONE = "-"  # what is not there: a deviation of one run, a test of one pair


def mean_and_std(cell: CellSummary, digits: int = 2, sign: str = "±") -> str:
    """Return ``81.23 ± 0.40``; without the deviation if there is one run only."""
    if cell.mean is None:
        return NONE
    return f"{cell.mean:.{digits}f}" + ("" if cell.std is None else f" {sign} {cell.std:.{digits}f}")


def interval(found: Interval | None, signed: bool = False) -> str:
    """Return ``[80.1, 82.3]``."""
    plus = "+" if signed else ""
    return NONE if found is None else f"[{found[0]:{plus}.2f}, {found[1]:{plus}.2f}]"


def p_text(p: float | None) -> str:
    """Return a p value with three decimals, or that it is smaller than can be shown."""
    return NONE if p is None else "< 0.001" if p < 0.0005 else f"{p:.3f}"


def runs_text(cell: CellSummary) -> str:
    """Return ``6 (3 x 2)``: runs, seeds x draws; ``6`` if each has its own of both; ``5 of 6`` if some are missing."""
    if not cell.complete:
        return f"{cell.n} of {cell.planned}"
    crossed = cell.n > 1 and cell.n == cell.seeds * cell.draws
    return f"{cell.n} ({cell.seeds} x {cell.draws})" if crossed else str(cell.n)


def _repeats(cell: CellSummary) -> str:
    """Return what a cell's runs are in words."""
    if 1 < cell.n == cell.seeds == cell.draws:
        return f"{cell.n} runs, each with a seed and a label draw of its own"
    return f"{_count(cell.seeds, 'seed')} x {_count(cell.draws, 'label draw')}"


def protocol(summary: GridSummary) -> list[str]:
    """Return sentences on how the figures came about: selection, runs, budget, test."""
    outcome = summary.outcome
    chosen = "Epochs" if outcome.trials_per_cell is None else "Epochs and trials"
    selection = f"{chosen} were selected by {outcome.selected_by}"
    selection += ", that is, with clean labels, which the label setting does not provide." if outcome.clean else "."
    sentences = [selection]
    sizes = sorted({_repeats(cell) for cell in summary.cells if cell.complete and cell.n})
    if len(sizes) == 1 and all(cell.complete for cell in summary.cells):
        sentences.append(f"Every cell has {sizes[0]}.")
    elif sizes:
        sentences.append(f"Complete cells have {' or '.join(sizes)}.")
    if missing := [cell.label for cell in summary.cells if not cell.complete]:
        sentences.append(f"Not complete: {_few(missing)}.")
    if outcome.trials_per_cell is not None:
        sentences.append(
            f"Every cell was tuned with the same budget, {_count(outcome.trials_per_cell, 'trial')} of its own search."
        )
    else:
        sentences.append("No cell was tuned for itself: all share the base configuration.")
    if outcome.baseline is not None:
        sentences.append(
            f"Differences to the baseline are paired by seed and label draw; p values are of the "
            f"{DESCRIPTIONS[summary.test]}, two-sided, after Holm's correction over "
            f"{'all comparisons of a block' if outcome.blocks else 'all comparisons'}."
        )
    if any(cell.seeds > 1 for cell in summary.cells) and all(cell.draws <= 1 for cell in summary.cells):
        sentences.append("With one label draw, intervals and p values hold for that draw only.")
    if summary.test == "crossed_t" and any(min(cell.seeds, cell.draws) == 2 and cell.n > 2 for cell in summary.cells):
        sentences.append(
            "Where two label draws (or two seeds) are crossed, the test must learn their effect from one degree of "
            "freedom, so it finds large differences only; runs with a seed and a draw of their own find smaller ones."
        )
    return sentences


def conclusion(summary: GridSummary) -> list[str]:
    """Return the findings, a paragraph a block: who is best, what differs from the baseline and what does not."""
    found: list[str] = []
    for block in summary.blocks:
        sentences = [f"**{summary.outcome.blocks} {block}:**"] if block else []
        best = summary.best(block)
        sentences += [_best(summary, best), *_against_baseline(summary, block)] if best else ["No run is finished."]
        found.append(" ".join(sentences))
    if (ranking := summary.ranking) is not None:
        order = sorted(range(len(ranking.names)), key=lambda place: ranking.average[place])
        p = ranking.p_iman_davenport
        verdict = "" if p is None else f"; Friedman's test (Iman-Davenport): p {_compared(p)}"
        found.append(
            f"Across {len(ranking.blocks)} levels of {summary.outcome.blocks}, {ranking.names[order[0]]} has the best "
            f"average rank ({ranking.average[order[0]]:.2f} of {len(order)}){verdict}."
        )
    return found


def _best(summary: GridSummary, best: CellSummary) -> str:
    runs = f"mean of {best.n}" if best.n > 1 else "one run"
    verdict = ", the baseline itself" if best.baseline else _verdict(best)
    return f"{summary.name_of(best)} has the highest {summary.outcome.metric}, {mean_and_std(best)} ({runs}){verdict}."


def _verdict(best: CellSummary) -> str:
    difference = best.difference
    if difference is None:
        return ""
    if difference.p_holm is None:
        why = " with so few pairs" if difference.n == 1 else ": every pair differs by as much"
        return f", {difference.mean:+.2f} points from the baseline, which cannot be tested{why}"
    if difference.significant:
        return f", significantly above the baseline ({difference.mean:+.2f} points, p {_compared(difference.p_holm)})"
    return f", {difference.mean:+.2f} points from the baseline, which may be luck (p {_compared(difference.p_holm)})"


def _against_baseline(summary: GridSummary, block: str) -> list[str]:
    cells = summary.of_block(block)
    compared = [(summary.name_of(cell), cell.difference) for cell in cells if cell.difference is not None]
    groups = {
        "Significantly better than": [f"{c} ({d.mean:+.2f})" for c, d in compared if d.significant and d.mean > 0],
        "Significantly worse than": [f"{c} ({d.mean:+.2f})" for c, d in compared if d.significant and d.mean < 0],
        "Not significantly different from": [c for c, d in compared if d.p_holm is not None and not d.significant],
        "Not testable against": [c for c, d in compared if d.p_holm is None],
    }
    base = next((summary.name_of(cell) for cell in cells if cell.baseline), "")
    return [f"{verdict} the baseline {base}: {_few(names)}." for verdict, names in groups.items() if names]


def _compared(p: float) -> str:
    """Return ``= 0.012`` or ``< 0.001``."""
    return p_text(p) if p < 0.0005 else f"= {p_text(p)}"


def _few(names: Sequence[str], most: int = 12) -> str:
    left = len(names) - most
    return "; ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
