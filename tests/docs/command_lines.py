"""What stands in shell blocks, read by the parsers and loaders that would read it, without running anything."""

import argparse
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from pages import ROOT, Block

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    program: lambda module=module: importlib.import_module(module).build_parser()  # type: ignore[misc]
    for program, module in {
        "plml": "plml.cli",
        "tune/run.py": "tune.run",
        "plml-study": "tune.run",
        "tune/status.py": "tune.status",
        "plml-status": "tune.status",
        "tune/promote.py": "tune.promote",
        "plml-promote": "tune.promote",
        "ablations/run.py": "ablations.run",
        "plml-grid": "ablations.run",
    }.items()
}
VARIABLE = re.compile(r"\$(\w+)")


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block; variables that the block sets are put in."""
    variables: dict[str, str] = {}
    for line in block.text.replace("\\\n", " ").splitlines():
        assigned = re.match(r'^(\w+)="([^"]*)"$', line)
        if assigned:
            variables[assigned[1]] = assigned[2]
            continue
        line = VARIABLE.sub(lambda name: variables.get(name[1], name[0]), line)
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # part of a text that goes over several lines
        while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("exec", "time", "nohup")):
            words = words[1:]
        cut = next((place for place, word in enumerate(words) if word in ("|", "&", "&&", ";", ">", "||")), len(words))
        if words[:cut]:
            yield words[:cut]


def read(words: list[str]) -> argparse.Namespace | None:
    """Return the options that a command line of this project stands for; None for other programs.

    Raises:
        SystemExit: its parser refuses it.
        FileNotFoundError: it runs a script that does not exist.
    """
    if words[0].rpartition("/")[2] in ("python", "python3") and len(words) > 1 and words[1].endswith(".py"):
        words = words[1:]
        if not (ROOT / words[0]).is_file():
            raise FileNotFoundError(words[0])
    name = words[0] if words[0] in PARSERS else words[0].rpartition("/")[2]
    if name not in PARSERS:
        _check_flags(words)
        return None
    return PARSERS[name]().parse_args(words[1:])


def _check_flags(words: list[str]) -> None:
    """Of a script without a parser of its own: each flag stands in its source."""
    script = ROOT / words[0]
    if script.suffix != ".py" or not script.is_file():
        return
    source = "".join(file.read_text(encoding="utf-8") for file in Path(script).parent.glob("*.py"))
    for word in words[1:]:
        if word.startswith("--") and f'"{word.partition("=")[0]}"' not in source:
            raise SystemExit(f"{words[0]} has no flag {word}")
