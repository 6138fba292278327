"""A grid's report as MLflow shows it: the description of a run, which is short and knows no files beside it."""

import re

LIMIT = 8000  # characters of a description that MLflow stores
_PICTURE = re.compile(r"!\[(?P<title>[^]]*)\]\((?P<path>figures/[^)]+)\.png\)")
_REST = "All tables and figures: **Artifacts**, with the whole report as `{name}`."
_ROWS = "{left} more rows stand in the report."


def description(report: str, run_id: str, *, name: str = "report.md", limit: int = LIMIT) -> str:
    """Return ``report`` within the limit, with its first picture.

    The conclusion is always kept and the tables stand in their order, the first one cut below the rows that
    still have room. MLflow resolves no path beside a description, but serves artifacts at an address; the SVG is shown,
    because it is no wider than the page. A second picture would make the page wider than the window.

    Args:
        report: Markdown; sections begin with ``## ``, pictures are ``![TITLE](figures/NAME.png)``.
        run_id: of the run that bears ``figures/`` as artifacts.
        name: the report's file among the artifacts.
        limit: characters.
    """
    first, *sections = re.split(r"\n(?=## )", report.rstrip())
    pictures = [section for section in sections if _PICTURE.search(section)]
    tables = [section for section in sections if section not in pictures]
    opening = [first, *tables[:1]]  # the conclusion
    shown = _PICTURE.sub(rf"![\g<title>](get-artifact?run_uuid={run_id}&path=\g<path>.svg)", "".join(pictures[:1]))
    closing = [*([shown] if shown else []), _REST.format(name=name)]
    room = limit - sum(len(part) + 2 for part in [*opening, *closing])
    middle = []
    for section in tables[1:]:
        kept = section if len(section) + 2 <= room else _fewer_rows(section, room - 2)
        if kept:
            middle.append(kept)
            room -= len(kept) + 2
        if kept != section:
            break
    text = "\n\n".join(part.strip("\n") for part in [*opening, *middle, *closing])
    return text if len(text) <= limit else text[: text.rfind(" ", 0, limit - 4)] + " ..."


def _fewer_rows(section: str, room: int) -> str:
    """Return the section with as many rows of its table as have room, or nothing without any."""
    lines = section.split("\n")
    rows = [place for place, line in enumerate(lines) if line.startswith("|")]
    for kept in range(len(rows) - 1, 2, -1):  # head and rule are rows, too
        end = _ROWS.format(left=len(rows) - kept)
        text = "\n".join([*lines[: rows[kept - 1] + 1], "", end])
        if len(text) <= room:
            return text
    return ""
