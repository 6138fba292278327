"""optuna-dashboard on the ledger that a study leaves by default: what docs/studies.md promises can be seen there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
STUDY = {
    "base": {
        "epochs": 2,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 120, "num_val": 60, "num_test": 60},
        },
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
    },
    "sampler": {"name": "random", "seed": 3},
    "n_trials": 5,
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a study that ended."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "small.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "small.yaml", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "small" / "optuna.log"


@pytest.fixture(scope="module")
def dashboard(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of optuna-dashboard on that journal."""
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "dashboard.log"
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(program), str(ledger), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(f"{address}/api/studies", timeout=5):
                break
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
    yield address
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def asked(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def test_the_study_shows_history_importance_and_its_best_trial(
    dashboard: str, open_page: Callable[[str], "Page"]
) -> None:
    [study] = asked(f"{dashboard}/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("small", ["maximize"])
    trials = asked(f"{dashboard}/api/studies/{study['study_id']}")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete"] * 5
    page = open_page(f"{dashboard}/dashboard/studies/{study['study_id']}")
    for text in ("History", "Hyperparameter Importance", "Timeline"):  # not the names in the folded menu
        page.get_by_text(text, exact=True).locator("visible=true").first.wait_for(state="visible")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="visible")
    page.locator(".js-plotly-plot .bars .point").first.wait_for(state="visible")
    best = max(range(5), key=lambda number: trials[number]["values"][0])
    page.get_by_text(f"Best Trial (number={best})").first.wait_for(state="visible")


def test_a_trial_shows_its_curve_and_the_projects_attributes(
    dashboard: str, open_page: Callable[[str], "Page"]
) -> None:
    page = open_page(f"{dashboard}/dashboard/studies/0/trials?numbers=1")
    for text in ("Intermediate Values", "Parameter", "User Attributes"):
        page.get_by_text(text).first.wait_for(state="visible")
    text = page.locator("body").inner_text()
    for part in ("method.name", "optim.lr", "fingerprint", "key 0001", "code"):
        assert part in text
    [one] = [trial for trial in asked(f"{dashboard}/api/studies/0")["trials"] if trial["number"] == 1]
    assert [value["step"] for value in one["intermediate_values"]] == [1, 2]
