"""One driver a study, also where only a database knows of it."""

import os
import socket
import threading
import time
from pathlib import Path

import optuna
import psutil
import pytest

from tune.folders import StudyFolder, StudyHeldError
from tune.lease import ATTRIBUTE, holding, lease

BEAT_S = 0.05


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="s", storage=url)
    return url


def study(url: str) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=url)


def signature(**changes: object) -> dict[str, object]:
    own, space = psutil.Process(), Path("/proc/self/ns/pid")
    where = {"host": socket.gethostname(), "space": space.stat().st_ino if space.exists() else None}
    return {"id": "x", "pid": own.pid, "born": own.create_time(), **where, "since": "now", **changes}


def test_a_study_is_held_and_let_go(url: str) -> None:
    lost: list[str] = []
    with lease(study(url), lost.append, beat_s=BEAT_S):
        signed = study(url).user_attrs[ATTRIBUTE]
        assert (signed["pid"], signed["host"]) == (os.getpid(), socket.gethostname())
        time.sleep(4 * BEAT_S)
        assert study(url).user_attrs[ATTRIBUTE]["beat"] > signed["beat"]
    assert study(url).user_attrs[ATTRIBUTE] is None
    assert lost == []


def test_a_driver_that_lives_elsewhere_is_not_disturbed(url: str) -> None:
    elsewhere, leave = study(url), threading.Event()

    def live() -> None:
        beat = 0
        while not leave.wait(BEAT_S):
            beat += 1
            elsewhere.set_user_attr(ATTRIBUTE, signature(host="elsewhere", pid=1, beat=beat))

    elsewhere.set_user_attr(ATTRIBUTE, signature(host="elsewhere", pid=1, beat=0))
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(StudyHeldError, match="process 1 on elsewhere"), lease(study(url), print, beat_s=0.5):
            pass
    finally:
        leave.set()
        thread.join()


@pytest.mark.parametrize(
    "dead",
    [signature(host="elsewhere", pid=1), signature(pid=2**22 + 1), signature(pid=1, born=0.0)],
    ids=["silent elsewhere", "no such process", "number of another process"],
)
def test_a_dead_driver_is_followed(url: str, dead: dict[str, object]) -> None:
    study(url).set_user_attr(ATTRIBUTE, {**dead, "beat": 3})
    with lease(study(url), print, beat_s=BEAT_S):
        assert study(url).user_attrs[ATTRIBUTE]["id"] != "x"


def test_a_driver_that_was_taken_for_dead_is_told(url: str) -> None:
    lost: list[str] = []
    with lease(study(url), lost.append, beat_s=BEAT_S):
        deadline = time.monotonic() + 20
        while not lost and time.monotonic() < deadline:  # one signature may be written over by a beat under way
            study(url).set_user_attr(ATTRIBUTE, signature(id="other", host="elsewhere", pid=7, beat=0))
            time.sleep(4 * BEAT_S)
    assert "process 7 on elsewhere" in lost[0]
    assert study(url).user_attrs[ATTRIBUTE]["id"] == "other"  # and it does not take it back


def test_a_journal_outside_the_folder_has_one_writer(tmp_path: Path) -> None:
    journal = str(tmp_path / "shared" / "s.log")
    one, two = StudyFolder(tmp_path / "one" / "s"), StudyFolder(tmp_path / "two" / "s")
    with (
        holding("s", one, journal, "max", print),
        pytest.raises(StudyHeldError, match="another output folder"),
        holding("s", two, journal, "max", print),
    ):
        pass
    with holding("s", two, journal, "max", print):
        pass


def test_another_driver_with_the_same_number_elsewhere_is_no_new_start_of_this_one(url: str) -> None:
    """Containers on one host may share its name, and both call themselves process 1."""
    elsewhere, leave = study(url), threading.Event()
    twin = {**signature(pid=os.getpid(), born=1.0), "space": -1}

    def live() -> None:
        beat = 0
        while not leave.wait(BEAT_S):
            beat += 1
            elsewhere.set_user_attr(ATTRIBUTE, {**twin, "beat": beat})

    thread = threading.Thread(target=live)
    thread.start()
    try:
        time.sleep(4 * BEAT_S)
        with pytest.raises(StudyHeldError, match="is being run by process"), lease(study(url), print, beat_s=0.5):
            pass
    finally:
        leave.set()
        thread.join()


def test_a_new_start_of_the_same_process_takes_over_at_once(url: str) -> None:
    study(url).set_user_attr(ATTRIBUTE, {**signature(), "beat": 3})
    began = time.monotonic()
    with lease(study(url), print):
        assert time.monotonic() - began < 5  # and not after watching for 20 s
