"""Sieges of studies on this machine, and the faults that are put into them."""

import os
import random
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from siege import ROOT, ROWS, STUDY, Siege, print_figures

# Python imports a module of this name in every process that finds it; it puts a fault into the trainer.
FAULT = """
import importlib.abc, importlib.util, sys

class Fault(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name != "plml.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.inner.create_module(spec)

    def exec_module(self, module):
        self.inner.exec_module(module)
        true = module.Trainer.epochs
{body}
        module.Trainer.epochs = epochs

sys.meta_path.insert(0, Fault())
"""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send a worker's part of the table to the process that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = ROWS


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """Take the part of a worker that has ended."""
    ROWS.extend(tuple(row) for row in getattr(node, "workeroutput", {}).get("faults", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was done to studies, and what became of them."""
    print_figures(terminalreporter)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a study finds that nothing happens to."""
    siege = Siege(tmp_path_factory.mktemp("undisturbed"))
    assert siege.run() == 0, siege.out()
    siege.check("none", 1)
    return siege.findings()


@pytest.fixture
def besiege(tmp_path: Path, undisturbed: dict[str, Any]) -> Iterator[Callable[..., Siege]]:
    """Make sieges; whatever still runs at the end is stopped."""
    made: list[Siege] = []

    def make(**options: Any) -> Siege:
        compared = "base" not in options.get("changes", {})
        made.append(Siege(tmp_path / f"s{len(made)}", **{"reference": undisturbed if compared else None, **options}))
        return made[-1]

    make.study, make.root = STUDY, ROOT  # type: ignore[attr-defined]
    yield make
    for siege in made:
        siege.stop()


@pytest.fixture(scope="module")
def chance() -> random.Random:
    """Moments to strike at; PLML_CHAOS_SEED draws others."""
    return random.Random(int(os.environ.get("PLML_CHAOS_SEED", "0")))


@pytest.fixture
def sabotage(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return the environment in which ``epochs(self)`` of every trainer is replaced; ``true`` is the real one."""

    def make(body: str) -> dict[str, str]:
        code = FAULT.format(body=textwrap.indent(textwrap.dedent(body), " " * 8))
        folder = tmp_path / "fault"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(folder)}

    return make
