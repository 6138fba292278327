"""``plml compare``: finished runs side by side, in the terminal and as a page."""

import argparse
import json
import sys
from pathlib import Path

from plml.checkpoint import write_text
from plml.cli import DONE
from plml.compare.page import render
from plml.compare.report import compare, print_comparison
from plml.compare.runs import read_runs
from plml.errors import ConfigError
from plml.terminal import Terminal


def run(options: argparse.Namespace) -> int:
    """Compare two or more runs with the first of them."""
    if len(options.runs) < 2:
        raise ConfigError(f"plml compare needs two runs or more, got {len(options.runs)}: {' '.join(options.runs)}")
    if options.classes < 0:
        raise ConfigError(f"--classes must be at least 0, got {options.classes}")
    page = Path(options.html) if options.html else None
    if page is not None and page.is_dir():
        raise ConfigError(f"--html: {page} is a folder; give a file")
    comparison = compare(read_runs(options.runs, Path(options.output_dir)))
    if page is not None:
        write_text(page, render(comparison))
    if options.json:
        sys.stdout.write(json.dumps(comparison.tree(), indent=1) + "\n")
        return DONE
    console = Terminal()
    print_comparison(comparison, console, classes=options.classes)
    if page is not None:
        console.print(f"page: {page}", soft_wrap=True, markup=False)
    return DONE
