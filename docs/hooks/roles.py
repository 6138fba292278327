"""Sphinx roles in docstrings become what the site understands: code that links where there is a page, and TeX."""

import re
from typing import Any

from griffe import Extension, Object

REFERENCE = re.compile(r":(?:py:)?(?:mod|func|class|meth|attr|data):`~?([\w.]+)`")
MATH = re.compile(r":math:`([^`]+)`")


def translated(text: str) -> str:
    """Return a docstring without Sphinx roles."""
    text = REFERENCE.sub(r'<autoref identifier="\1" optional><code>\1</code></autoref>', text)
    return MATH.sub(r"$\1$", text)


class Roles(Extension):
    """Translates every docstring when it is read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = translated(obj.docstring.value)
