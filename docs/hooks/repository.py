"""Links out of ``docs`` and notebooks: what works on a repository's pages works on the site too.

The project has no address of its own, so a link such as ``../plml/methods/role.py`` cannot lead to one. Every file that
a page links to outside ``docs`` becomes a page below ``source/``: Markdown as it is, anything else as a listing. A
notebook in ``docs`` becomes a page of its texts and its code.
"""

import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"^(`{3,}).*?^\1 *$", re.DOTALL | re.MULTILINE)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "sh", ".cff": "yaml"}


def page_of(path: str) -> str:
    """Return the page that shows a file of the repository, both as paths with ``/``."""
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        return inside.removesuffix(".ipynb") + ".md" if inside.endswith(".ipynb") else inside
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def path_of(page: str) -> str:
    """Return the file of the repository that a page shows."""
    if not page.startswith("source/"):
        return f"docs/{page}"
    path = page.removeprefix("source/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Apply ``change`` to Markdown, but not to its fenced code."""
    result, end = [], 0
    for fence in FENCED.finditer(text):
        result += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*result, change(text[end:])])


def targets(text: str, page: str) -> list[str]:
    """Return the files of the repository that a page links to."""
    folder = posixpath.dirname(path_of(page))
    links = LINK.finditer(FENCED.sub("", text))
    return [posixpath.normpath(posixpath.join(folder, link[1])) for link in links]


def source_page(path: str) -> str:
    """Return the page of a file outside ``docs``."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(posixpath.splitext(path)[1], "text")
    return f"# {path}\n\n`````{language}\n{text}`````\n"


def notebook_page(file: Path) -> str:
    """Return the texts and the code of a notebook as Markdown."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add a page for every notebook, and for every file outside ``docs`` that a page links to."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        content = notebook_page(Path(str(notebook.abs_src_path)))
        files.remove(notebook)
        files.append(File.generated(config, page_of(f"docs/{notebook.src_uri}"), content=content))
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for target in targets(page.content_string, page.src_uri):
            uri = page_of(target)
            if target.startswith("docs/") or not (ROOT / target).is_file() or files.get_file_from_path(uri):
                continue
            files.append(File.generated(config, uri, content=source_page(target)))
            waiting.append(files.src_uris[uri])
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page to the pages of the files that they name."""
    uri = page.file.src_uri
    folder = posixpath.dirname(path_of(uri))

    def led(link: re.Match[str]) -> str:
        target = page_of(posixpath.normpath(posixpath.join(folder, link[1])))
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{link[2] or ''})"

    return outside_fences(markdown, lambda part: LINK.sub(led, part))
