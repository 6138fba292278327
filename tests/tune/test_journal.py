"""The driver's journal: what was appended survives a kill, readers may read along, and Optuna sees the same study."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tune.journal import DriverJournal
from tune.records import open_storage

WRITER = """
import sys
import optuna
from pathlib import Path
from tune.journal import DriverJournal
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.JournalStorage(DriverJournal(Path(sys.argv[1])))
study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
while True:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    for step in range(5):
        trial.report(step / 7, step)
    study.tell(trial, 1 / 7)
    sys.stdout.write(f"{trial.number}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_loses_nothing_that_it_appended(tmp_path: Path) -> None:
    file = tmp_path / "optuna.log"
    told = -1
    for _ in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(20):
            told = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)  # at once: within the time in which the disk need not know
        rest = writer.stdout.read().split()
        told = int(rest[-1]) if rest else told
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        study = optuna.load_study(study_name="s", storage=open_storage(str(file), repair=True))
        trials = study.get_trials(deepcopy=False)
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        assert told in [trial.number for trial in done]
        assert len(trials) <= told + 3
        assert all(trial.intermediate_values == {step: step / 7 for step in range(5)} for trial in done)
        for trial in trials:
            if trial.state == TrialState.RUNNING:  # the one that was being written
                study.tell(trial.number, state=TrialState.FAIL)


def test_another_process_sees_the_study_as_the_writer_does(tmp_path: Path) -> None:
    file = tmp_path / "optuna.log"
    study = optuna.create_study(study_name="s", storage=JournalStorage(DriverJournal(file)))
    reader = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(file))))
    for number in range(6):
        trial = study.ask()
        trial.suggest_float("x", 1e-4, 1, log=True)
        trial.set_user_attr("nested", {"list": (1, 2), "text": "ä\n"})
        trial.report(float("nan") if number == 1 else number, 3)
        study.tell(trial, number) if number % 2 else study.tell(trial, state=TrialState.PRUNED)
        assert repr(reader.get_trials()) == repr(study.get_trials())  # NaN differs from itself, but not in print
    study.set_user_attr("note", {"a": [1]})
    assert reader.user_attrs == study.user_attrs == {"note": {"a": [1]}}


def test_records_of_somebody_else_are_read_too(tmp_path: Path) -> None:
    file = tmp_path / "optuna.log"
    study = optuna.create_study(study_name="s", storage=JournalStorage(DriverJournal(file)))
    study.ask()
    other = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(file))))
    other.tell(0, 1.0)
    assert study.trials[0].state == TrialState.COMPLETE
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(0, "late", 1)
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in other.trials] == [trial.value for trial in study.trials] == [1.0, 2.0]


def test_the_disk_is_told_once_for_many_records_and_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    journal = DriverJournal(tmp_path / "optuna.log", sync_s=0.2)

    def note(descriptor: int) -> None:
        if descriptor == journal._descriptor:  # timers of earlier tests may still run
            synced.append(time.monotonic())

    monkeypatch.setattr(os, "fsync", note)
    began = time.monotonic()
    for number in range(50):
        journal.append_logs([{"n": number}])
    wrote = time.monotonic()
    while not synced and time.monotonic() < wrote + 5:
        time.sleep(0.01)
    assert synced
    assert synced[0] - began >= 0.2
    time.sleep(0.3)
    assert len(synced) <= 1 + (wrote - began) / 0.2
    journal.append_logs([{"n": 50}])
    before = len(synced)
    journal.flush()
    assert len(synced) == before + 1
    time.sleep(0.3)
    assert len(synced) == before + 1  # nothing was left for the timer
    assert [log["n"] for log in journal.read_logs(0)] == list(range(51))


def test_trouble_with_the_disk_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "optuna.log"
    journal = DriverJournal(file, sync_s=0.01)
    journal.append_logs([{"n": 0}])
    write = os.write

    def half(descriptor: int, content: memoryview) -> int:
        write(descriptor, content[:3])
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            journal.append_logs([{"n": 1}])
    journal.append_logs([{"n": 2}])
    assert file.read_text() == '{"n":0}\n{"n":2}\n'
    assert list(journal.read_logs(0)) == [{"n": 0}, {"n": 2}]
