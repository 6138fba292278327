"""The fenced blocks of README and docs, and what their pages say about them.

A block is run. An HTML comment in the line above it may say otherwise:

* ``<!-- fast -->``: it takes seconds, so ``make test`` runs it too, not only ``make test-docs``.
* ``<!-- not run: REASON -->``: it cannot run in a test; its command lines are still read by the real parsers.
* of YAML, what it is: ``study``, ``grid``, ``config``, ``config lines``, ``data lines`` or ``search space``; with
  ``: NAME.yaml`` it is also the file of that name, for the commands of its page.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHELL = ("sh", "bash")
# What is shown and not run; `text` is what something prints, or a picture of files.
SHOWN = ("text", "math", "json", "ini", "toml", "dockerfile", "html")
# Pages whose commands need what no test of these has; those named in brackets run the same.
NOT_RUN = {
    "docs/cluster.md": "several machines (make test-cluster)",
    "docs/scale.md": "hours (benchmarks)",
}
YAML_KINDS = ("study", "grid", "config", "config lines", "data lines", "search space")
FENCE = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!-- ([^\n]*) -->\n\s*$")


class Block(NamedTuple):
    """A fenced block: its page, first line, language, text, and the comment above it."""

    page: str
    line: int
    language: str
    text: str
    comment: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, or None."""
        found = re.fullmatch(r"not run: (.+)", self.comment)
        return found[1] if found else None

    @property
    def fast(self) -> bool:
        return self.comment == "fast"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def page_names() -> list[str]:
    """Return every page with blocks that somebody may type, relative to the repository."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(page.relative_to(ROOT)) for page in pages if page.name != "CHANGELOG.md")


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, top to bottom."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        above = COMMENT.search(text[: match.start()])
        comment = above[1] if above else ""
        language = match[3]
        if page in NOT_RUN:
            comment, language = f"not run: {NOT_RUN[page]}", language or "sh"
        lines = match[4].splitlines(keepends=True)
        content = "".join(line.removeprefix(match[1]) for line in lines)
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, content, comment))
    return found


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in page_names() for block in blocks_of(page)]
