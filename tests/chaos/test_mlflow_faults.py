"""A real MLflow server that is stopped, stays away, is slow, or answers with errors, while a study runs."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
Besiege = Callable[..., Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An MLflow server with a database and proxied artifacts, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1",
                    "--port", str(self.port), "--workers", "1",
                    "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
                    "--artifacts-destination", str(self.folder / "artifacts"),
                ],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Proxy(ThreadingHTTPServer):
    """Stands before a server and passes on what comes, late, or not at all.

    Attributes:
        delay_s: added to every answer.
        error: status that is answered instead, or None.
        refused: how often it was.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.behind, self.delay_s, self.error, self.refused = port, 0.0, None, 0
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Relay(BaseHTTPRequestHandler):
    """Passes one request on."""

    server: Proxy

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.server.delay_s)
        if self.server.error is not None:
            self.server.refused += 1
            self.send_response(self.server.error)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815 - the library looks for these names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the library calls it
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mlflow").mkdir()
    made = Server(tmp_path / "mlflow")
    made.start()
    yield made
    made.stop()


def test_the_server_is_away_for_a_while(besiege: Besiege, server: Server) -> None:
    siege = besiege(tracking=server.uri)
    process = siege.start()
    siege.wait(siege.total // 6, process)
    server.stop()
    siege.wait(siege.total // 2, process)  # nothing waits for it
    server.start()
    assert siege.finish(process) == 0, siege.out()
    siege.check("MLflow server away for a while", 1)


def test_the_server_never_comes_back(besiege: Besiege, server: Server) -> None:
    siege = besiege(tracking=server.uri)
    process = siege.start()
    siege.wait(siege.total // 3, process)
    server.stop()
    assert siege.finish(process) == 0, siege.out()
    assert siege.out().count("the same command delivers everything later") == 1
    server.start()
    assert siege.run() == 0, siege.out()
    assert "training" not in siege.out()
    siege.check("MLflow server killed for good, another later", 1)


def test_the_server_was_never_there(besiege: Besiege) -> None:
    siege = besiege(tracking="http://127.0.0.1:9")  # nobody answers at the discard port
    assert siege.run() == 0, siege.out()
    siege.tracking = None
    assert siege.run() == 0, siege.out()
    siege.check("MLflow never there, a database later", 1)


@pytest.mark.parametrize(("fault", "delay_s", "error"), [("slow", 4.0, None), ("HTTP 500", 0.0, 500)])
def test_the_server_is_slow_or_answers_errors(
    besiege: Besiege, server: Server, fault: str, delay_s: float, error: int | None
) -> None:
    proxy = Proxy(server.port)
    siege = besiege(tracking=proxy.uri)
    process = siege.start()
    siege.wait(siege.total // 6, process)
    proxy.delay_s, proxy.error = delay_s, error
    siege.wait(siege.total // 2, process)
    proxy.delay_s, proxy.error = 0.0, None
    assert siege.finish(process) == 0, siege.out()
    assert error is None or proxy.refused > 0
    siege.check(f"MLflow server: {fault}", 1)
    proxy.shutdown()
    proxy.server_close()
