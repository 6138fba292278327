"""What a page ``docs/methods/NAME.md`` says of its method that the code, the recipes and docs/measured.md know already.

Loss and advice are written by hand; between ``<!-- method: PART -->`` and ``<!-- end -->`` stands what is made here.
"""

import inspect
import re
import sys
from collections.abc import Iterator

from plml.commands.listing import method_rows, range_text
from plml.commands.markdown_table import markdown
from plml.methods import METHODS
from plml.observation import OBSERVATIONS
from plml.recipe import read_recipe, recipe_names

BLOCK = re.compile(r"(<!-- method: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ADDRESS = re.compile(r"arXiv:(\d{4}\.\d{4,5})|(https?://\S+)")
ARGUMENT = re.compile(r"^(\w+): (.*)$")
CONSTRUCTION = ("labels", "compat")  # every method has these


def filled_page(name: str, text: str, measured: str) -> str:
    """Return the page of a method with its generated parts made anew.

    Args:
        name: the method.
        text: the page as it is.
        measured: text of docs/measured.md.
    """
    parts = {"head": head, "hyperparameters": hyperparameters, "figures": lambda name: figures(name, measured)}
    return BLOCK.sub(lambda block: f"{block[1]}{parts[block[2]](name)}\n{block[3]}", text)


def head(name: str) -> str:
    """Return what the method is, where it comes from, and what it can be trained on."""
    method, [row] = METHODS[name], [row for row in method_rows() if row["name"] == name]
    summary = (sys.modules[method.__module__].__doc__ or "").strip().partition("\n")[0]
    refused = ", ".join(f"`{setting}`" for setting in sorted(set(OBSERVATIONS) - set(row["settings"])))
    lines = [
        summary,
        "",
        f"* **Source**: {linked(method.paper)}. Code: [plml/methods/{name}.py](../../plml/methods/{name}.py)",
        f"* **Modes**: {', '.join(f'`{mode}`' for mode in row['modes'])}",
        f"* **Label settings it refuses**: {refused or 'none'}",
    ]
    if method.needs_expected_positives:
        lines.append("* **Needs** k, the expected number of positives an image (`data.expected_positives`)")
    return "\n".join(lines)


def linked(paper: str) -> str:
    """Return a reference whose arXiv id or address is a link."""
    return ADDRESS.sub(
        lambda found: f"[arXiv:{found[1]}](https://arxiv.org/abs/{found[1]})" if found[1] else f"<{found[2]}>", paper
    )


def hyperparameters(name: str) -> str:
    """Return the table of hyperparameters: default, searched range, meaning."""
    [row] = [row for row in method_rows() if row["name"] == name]
    own = {key: default for key, default in row["hyperparameters"].items() if key not in CONSTRUCTION}
    if not own:
        return "None; learning rate, batch size and weight decay are what is searched."
    meanings = dict(arguments(METHODS[name]))
    rows = [
        [f"`{key}`", str(value), range_text(row["search_space"].get(key, "not searched")), meanings[key]]
        for key, value in own.items()
    ]
    return markdown(["option of `method`", "default", "searched (`method: default`)", "meaning"], rows)


def arguments(kind: type) -> Iterator[tuple[str, str]]:
    """Yield name and meaning of each argument that a class's docstring describes."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Args:\n")
    section = re.split(r"\n\S", f"{section}\n", maxsplit=1)[0]
    for entry in re.split(r"\n(?=    \w)", f"\n{section}"):
        found = ARGUMENT.match(" ".join(entry.split()))
        if found:
            yield found[1], re.sub(r":(?:mod|func):`([\w.]+)`", r"`\1`", found[2])


def figures(name: str, measured: str) -> str:
    """Return what was measured here with the method, and what was published."""
    lines = [f"* {where}: {cells}" for where, cells in measured_cells(name, measured)]
    published = list(published_figures(name))
    if published:
        lines += ["", "Published, as [recipes](../recipes.md) that can be run:", "", *published]
    return "\n".join(lines)


def measured_cells(name: str, measured: str) -> Iterator[tuple[str, str]]:
    """Yield heading and figures of each table of docs/measured.md that has a row for the method."""
    heading, columns = "", [""]
    for line in measured.splitlines():
        cells = [cell.strip().replace("**", "") for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| method |"):
            columns = cells
        elif line.startswith(f"| `{name}` |") and columns[0] == "method":
            anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            pairs = [f"{column}: {cell}" for column, cell in zip(columns[1:], cells[1:], strict=True) if cell != "-"]
            yield f"test mAP, [{heading.lower()}](../measured.md#{anchor})", "; ".join(pairs).removeprefix("test mAP: ")


def published_figures(name: str) -> Iterator[str]:
    """Yield a line for each recipe of the method."""
    for recipe_name in recipe_names():
        recipe = read_recipe(recipe_name)
        tree = recipe.tree(next(iter(recipe.variants)))["method"]
        if (tree["name"] if isinstance(tree, dict) else tree) != name:
            continue
        numbers = [
            f"{variant} " + ", ".join(f"{number.value} ({number.status})" for number in content.published)
            for variant, content in recipe.variants.items()
            if content.published
        ]
        yield f"* `recipe:{recipe_name}`, {recipe.title}: {'; '.join(numbers) or 'no figure published'}"
