"""Everything that a grid leaves to read: report, tables and figures, from the outcome alone."""

from pathlib import Path

from ablations.csv_tables import cells_csv, runs_csv
from ablations.figures import draw_figures
from ablations.latex import latex
from ablations.markdown import markdown
from ablations.outcome import GridOutcome
from ablations.summary import GridSummary, summarise
from plml.checkpoint import write_text


def write_report(outcome: GridOutcome, folder: Path, *, test: str = "crossed_t") -> list[Path]:
    """Write ``report.md``, ``cells.csv``, ``runs.csv``, ``table.tex`` and ``figures/``; return the files.

    The same outcome gives the same bytes. If labels chose that the setting does not have, every name carries
    ``-selected-on-clean``.

    Args:
        outcome: what the grid found so far.
        folder: made if it is missing.
        test: see :func:`ablations.summary.summarise`.

    Raises:
        ConfigError: no such test.
        DataError: test scores of a run that do not fit its labels.
    """
    return write_summary(summarise(outcome, test=test), folder)


def write_summary(summary: GridSummary, folder: Path) -> list[Path]:
    """Write the files of :func:`write_report` from numbers that are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(summary, folder / "figures")
    texts = {
        "report.md": markdown(summary, figures),
        "cells.csv": cells_csv(summary),
        "runs.csv": runs_csv(summary),
        "table.tex": latex(summary),
    }
    files = []
    for name, text in texts.items():
        stem, dot, kind = name.partition(".")
        for old in (folder / name, folder / f"{stem}-selected-on-clean.{kind}"):  # of an earlier state
            old.unlink(missing_ok=True)
        file = folder / f"{stem}{summary.suffix}{dot}{kind}"
        write_text(file, text)
        files.append(file)
    return files + figures
