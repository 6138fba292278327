"""``table.tex``: the grid as booktabs tables, one line a cell, and with a factor as columns the way papers print it."""

from collections.abc import Sequence

from ablations.summary import CellSummary, GridSummary
from ablations.wording import NONE, interval, p_text, protocol, runs_text

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "\u00d7": r"$\times$",
    "\u2212": r"$-$",
    "\u2013": "--",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "\u03b1": r"$\alpha$",
    "β": r"$\beta$",
    "\u03b3": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "\u03c1": r"$\rho$",
    "\u03c3": r"$\sigma$",
    "τ": r"$\tau$",
}
NOT_SIGNIFICANT = r"$^{\circ}$"
MISSING = r"$^{\ast}$"


def escape(text: str) -> str:
    """Return ``text`` as LaTeX prints it; letters that pdflatex cannot print become a question mark."""
    return "".join(_SPECIAL.get(c, c if ord(c) < 0x180 else "?") for c in text)


def latex(summary: GridSummary) -> str:
    r"""Return the tables; they need ``\usepackage{booktabs}``."""
    tables = [_long(summary)]
    if summary.outcome.columns:
        tables.append(_paper(summary, summary.outcome.columns))
    return "% \\usepackage{booktabs}\n" + "\n".join(tables)


def _long(summary: GridSummary) -> str:
    factors = summary.outcome.factors
    head = [*map(escape, factors), "$n$", escape(summary.outcome.metric), r"95\,\%", r"$\Delta$", r"95\,\%", "$p$"]
    lines: list[str] = []
    for block in summary.blocks:
        if lines:
            lines.append(r"\midrule")
        for cell in summary.of_block(block):
            d = cell.difference
            delta = NONE if d is None else f"${d.mean:+.2f}$" + ("" if d.significant else NOT_SIGNIFICANT)
            bounds = NONE if d is None else f"${interval(d.interval, signed=True)}$" if d.interval else NONE
            p = "" if d is None else p_text(d.p_holm).replace("< ", r"$<$\,")
            row = [*(escape(cell.levels.get(name, NONE)) for name in factors), _runs(cell), _score(summary, cell, 2)]
            row += [interval(cell.interval)] + (["baseline", "", ""] if cell.baseline else [delta, bounds, p])
            lines.append(" & ".join(row) + r" \\")
    caption = _caption(
        summary,
        "Mean and standard deviation over runs, 95\\,\\% confidence interval of the mean, and difference $\\Delta$ to "
        "the baseline in points with its interval and $p$ value.",
    )
    columns = "l" * len(factors) + "rrcrcr"
    return _table(summary.outcome.name, caption, columns, [" & ".join(head) + r" \\"], lines)


def _paper(summary: GridSummary, columns: str) -> str:
    """Rows are what is left of the factors, columns the levels of one of them."""
    factors = [name for name in summary.outcome.factors if name != columns]
    levels = list(dict.fromkeys(cell.levels[columns] for cell in summary.cells if columns in cell.levels))
    found = {
        (tuple(cell.levels.get(name, NONE) for name in factors), cell.levels[columns]): cell
        for cell in summary.cells
        if columns in cell.levels
    }
    lines = []
    for row in dict.fromkeys(rest for rest, _ in found):
        shown = [
            _score(summary, cell, 1, _column(summary, columns, level), mark=True)
            if (cell := found.get((row, level))) is not None
            else NONE
            for level in levels
        ]
        lines.append(" & ".join([*map(escape, row), *shown]) + r" \\")
    head = [
        " & " * len(factors) + rf"\multicolumn{{{len(levels)}}}{{c}}{{{escape(columns)}}} \\",
        rf"\cmidrule(l){{{len(factors) + 1}-{len(factors) + len(levels)}}}",
        " & ".join([*map(escape, factors), *map(escape, levels)]) + r" \\",
    ]
    caption = _caption(summary, f"{escape(summary.outcome.metric)}, mean $\\pm$ standard deviation over runs.")
    return _table(f"{summary.outcome.name}-columns", caption, "l" * len(factors) + "r" * len(levels), head, lines)


def _column(summary: GridSummary, columns: str, level: str) -> list[CellSummary]:
    return [cell for cell in summary.cells if cell.levels.get(columns) == level]


def _score(
    summary: GridSummary,
    cell: CellSummary,
    digits: int,
    rivals: Sequence[CellSummary] | None = None,
    mark: bool = False,
) -> str:
    """Mean and deviation, the best of the rivals (of its block) bold, the second underlined."""
    if cell.mean is None:
        return NONE
    means = sorted(
        {c.mean for c in (summary.of_block(cell.block) if rivals is None else rivals) if c.mean is not None},
        reverse=True,
    )
    text = f"{cell.mean:.{digits}f}"
    if cell.mean == means[0]:
        text = rf"\textbf{{{text}}}"
    elif cell.mean == means[1]:
        text = rf"\underline{{{text}}}"
    if cell.std is not None:
        text += rf" {{\scriptsize$\pm${cell.std:.{digits}f}}}"
    if mark and cell.difference is not None and not cell.difference.significant:
        text += NOT_SIGNIFICANT
    return text + (MISSING if mark and not cell.complete else "")


def _runs(cell: CellSummary) -> str:
    return escape(runs_text(cell)).replace(" x ", r"\,$\times$\,") + ("" if cell.complete else MISSING)


def _caption(summary: GridSummary, first: str) -> str:
    outcome = summary.outcome
    parts = [escape(outcome.description.rstrip(".") + ".") if outcome.description else "", first]
    parts += [escape(sentence).replace(" x ", r" $\times$ ") for sentence in protocol(summary)]
    parts.append(r"Best in bold, second best underlined")
    if outcome.baseline is not None:
        parts[-1] += rf"; {NOT_SIGNIFICANT} not significantly different from the baseline"
    if any(cell.std is None and cell.n for cell in summary.cells):
        parts[-1] += "; no deviation where there is one run"
    if not all(cell.complete for cell in summary.cells):
        parts[-1] += f"; {MISSING} runs missing"
    return " ".join(part for part in parts if part) + "."


def _table(name: str, caption: str, columns: str, head: Sequence[str], lines: Sequence[str]) -> str:
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            r"\setlength{\belowcaptionskip}{6pt}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{slug}}}",
            r"\small",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            *head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
