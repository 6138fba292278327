"""The commands and the Python of README and docs run, page by page, top to bottom, on real data where there is some."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pages import SHELL, Block, blocks_of, page_names
from surroundings import BEFORE, ENDING, environment, furnish, needs_shared, placed

RUN = (*SHELL, "python")


def run_blocks(page: str) -> list[Block]:
    """Return the blocks of a page that are run."""
    return [
        block
        for block in blocks_of(page)
        if block.language in RUN and block.reason is None and not block.comment.startswith("file: ")
    ]


FAST = [page for page in page_names() if any(block.fast for block in run_blocks(page))]
ALL = [page for page in page_names() if any(not block.fast for block in run_blocks(page))]


def execute(text: str, language: str, folder: Path, where: str) -> str:
    """Run a block in ``folder`` and return what it prints; fail with its output."""
    command = [sys.executable, "-"] if language == "python" else ["bash", "-euo", "pipefail"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(placed(text, folder), timeout=ENDING)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{where} ended with {process.returncode}:\n{text}\n{output[-6000:]}"
    return output


def run_page(page: str, blocks: list[Block], folder: Path, request: pytest.FixtureRequest, before: str = "") -> None:
    shared = request.getfixturevalue("shared_data") if needs_shared(page, blocks) else None
    furnish(folder, shared, page)
    if before:
        execute(before, "sh", folder, f"before {page}")
    for block in blocks:
        execute(block.text, block.language, folder, str(block))


@pytest.mark.parametrize("page", FAST)
def test_fast_blocks_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run_page(page, [block for block in run_blocks(page) if block.fast], tmp_path, request)


@pytest.mark.docs
@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.xdist_group(page)) for page in ALL])
@pytest.mark.timeout(3600)
def test_all_blocks_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run_page(page, run_blocks(page), tmp_path, request, BEFORE.get(page, ""))


def test_what_is_not_run_gives_a_reason() -> None:
    for page in page_names():
        for block in blocks_of(page):
            assert block.reason is None or len(block.reason) > 3, block


def test_every_preparation_belongs_to_a_page() -> None:
    assert set(BEFORE) <= set(page_names())
