"""A browser, pages opened in it, and MLflow servers that live as long as a module's tests."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 120_000
PORT = "5000"  # in every command that is printed


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start a server by its shell command, on a port that is free; return its address when it answers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> str:
        folder = tmp_path_factory.mktemp("server")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        assert f"--port {PORT}" in command
        line = command.replace(f"--port {PORT}", f"--port {port}") + " --workers 1"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                ["/bin/sh", "-c", f"exec env {line}"],
                cwd=folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )
        started.append(server)
        base = f"http://127.0.0.1:{port}"
        _wait_for(f"{base}/health", server, folder / "server.log")
        return base

    yield start
    for server in started:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.3)
    pytest.fail(log.read_text())


@pytest.fixture
def open_page(browser: "Browser", tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], "Page"]]:
    """Open a link in a fresh profile; a screenshot of how the page looked at the end is kept."""
    context = browser.new_context(viewport={"width": 1600, "height": 1100})
    outside: list[str] = []
    context.on("request", lambda sent: None if "//127.0.0.1:" in sent.url else outside.append(sent.url))
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)

    def open_link(link: str) -> "Page":
        page.goto(link)
        return page

    yield open_link
    page.screenshot(path=tmp_path / f"{request.node.name}.png")
    context.close()
    assert [url for url in outside if url.startswith("http")] == []  # the pages work without a network


@pytest.fixture
def see() -> Callable[..., None]:
    """Wait until every text is visible on the page."""

    def wait(page: "Page", *texts: str) -> None:
        for text in texts:
            page.get_by_text(text, exact=True).first.wait_for(state="visible")

    return wait
