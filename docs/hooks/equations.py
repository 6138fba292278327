"""Equations of the pages become MathML while the site is built, so that no script of anybody has to be loaded.

Arithmatex finds them (``$...$``, ``$$...$$`` and blocks of the language ``math``) and leaves them as TeX in elements of
the class ``arithmatex``; latex2mathml translates them here.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

EQUATION = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
DELIMITERS = re.compile(r"^\s*\\[(\[](.*)\\[)\]]\s*$", re.DOTALL)
LOGARITHM = "<mi>ln</mi>"
THIN = '<mspace width="0.17em"/>'
COMMAND = re.compile(r"<m[io]>\\[^<]*</m[io]>")


def mathml(tex: str, *, display: bool) -> str:
    """Return TeX as MathML.

    Raises:
        ValueError: it holds a command that is not known, which would be shown as it is written.
    """
    block = convert(tex, display="block" if display else "inline")
    unknown = COMMAND.search(block)
    if unknown:
        raise ValueError(f"unknown TeX command {unknown[0]} in {tex}")
    return block.replace(LOGARITHM, THIN + LOGARITHM + THIN)  # browsers set no space around the name of a function


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Translate the equations of a page."""

    def translated(match: re.Match[str]) -> str:
        inside = DELIMITERS.match(html.unescape(match[2]))
        if inside is None:
            raise PluginError(f"{page.file.src_uri}: no equation in {match[0]}")
        try:
            return f'<{match[1]} class="equation">{mathml(inside[1].strip(), display=match[1] == "div")}</{match[1]}>'
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: {error}") from error

    return EQUATION.sub(translated, content)
