"""``--fresh``: the old study goes, wherever its ledger is; the new one is kept in the same place."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from plml.terminal import Terminal
from tune.folders import StudyFolder, StudyHeldError
from tune.lease import ATTRIBUTE
from tune.renewal import begin_again


@contextmanager
def held_elsewhere(study: optuna.Study) -> Iterator[None]:
    """A driver on another machine: its signature changes."""
    leave = threading.Event()

    def live() -> None:
        beat = 0
        while not leave.wait(0.05):
            beat += 1
            study.set_user_attr(ATTRIBUTE, {"id": "x", "pid": 1, "host": "elsewhere", "since": "now", "beat": beat})

    thread = threading.Thread(target=live)
    thread.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        leave.set()
        thread.join()
        study.set_user_attr(ATTRIBUTE, None)


@pytest.mark.filterwarnings("ignore")
def test_a_ledger_in_a_database_is_deleted_there(tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path}/ledger.db", StudyFolder(tmp_path / "results" / "mine")
    optuna.create_study(study_name="other", storage=url)
    optuna.create_study(study_name="mine", storage=url)
    folder.path.mkdir(parents=True)
    folder.storage_file.write_text(url + "\n")
    folder.study_file.write_text("n_trials: 1\n")
    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    with held_elsewhere(optuna.load_study(study_name="mine", storage=url)), pytest.raises(StudyHeldError):
        begin_again(folder, tracking, Terminal(quiet=True), storage=None, sure=True)
    assert folder.study_file.is_file()
    assert begin_again(folder, tracking, Terminal(quiet=True), storage=None, sure=True) == url
    assert optuna.get_all_study_names(url) == ["other"]
    assert not folder.path.exists()
    assert begin_again(folder, tracking, Terminal(quiet=True), storage=None, sure=True) is None
