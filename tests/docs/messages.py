"""Every text that the code can say, with ``...`` in the place of what is put in."""

import ast
import re
from functools import cache

from pages import ROOT

PACKAGES = ("plml", "tune", "ablations")


@cache
def texts() -> tuple[str, ...]:
    """Return the string literals of the packages; docstrings are none, parts of a sum stay together."""
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            found += [text for node in ast.walk(tree) if id(node) not in docstrings and (text := _text(node))]
    return tuple(found)


def _text(node: ast.AST) -> str:
    """Return what a literal, or a sum of them, says."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or "..." for value in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (_text(left) or "...") + (_text(right) or "...")
    return ""


def is_said(message: str) -> bool:
    """Return whether some text of the code holds the message; ``...`` in it stands for anything."""
    parts = message.split("...")
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    longest = max(parts, key=len)
    return any(longest in text and pattern.search(text) for text in texts())
