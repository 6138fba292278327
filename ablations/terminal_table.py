"""The grid's table in a terminal."""

from rich import box
from rich.markup import escape
from rich.table import Table

from ablations.summary import GridSummary
from ablations.wording import interval, mean_and_std, p_text, runs_text


def render(summary: GridSummary) -> Table:
    """Return the cells, block by block and best first, with their difference to the baseline."""
    outcome = summary.outcome
    stamp = " (selected on clean labels)" if outcome.clean else ""
    table = Table(box=box.SIMPLE_HEAD, title=f"{escape(outcome.name)}: {outcome.metric}{stamp}", title_justify="left")
    for name in ([outcome.blocks] if outcome.blocks else []) + ["cell"]:
        table.add_column(escape(name), overflow="fold")
    for name in ("n", "mean ± std", "95 %", "difference", "95 %", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for block in summary.blocks:
        for cell in sorted(summary.of_block(block), key=lambda cell: (cell.place is None, cell.place or 0)):
            d = cell.difference
            verdict = "baseline" if cell.baseline else ""
            if d is not None:
                verdict = (
                    "significant" if d.significant else "not significant" if d.p_holm is not None else "not tested"
                )
            if not cell.complete:
                verdict = f"{verdict}, incomplete".removeprefix(", ")
            row = [escape(block)] * bool(outcome.blocks) + [escape(summary.name_of(cell))]
            row += [runs_text(cell), mean_and_std(cell), interval(cell.interval)]
            row += ["", "", ""] if d is None else [f"{d.mean:+.2f}", interval(d.interval, True), p_text(d.p_holm)]
            table.add_row(*row, verdict, style="bold" if cell.place == 1 else None)
        if block != summary.blocks[-1]:
            table.add_section()
    return table
