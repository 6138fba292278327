"""Who may write a study that lies in a database: one driver, wherever it runs.

A folder can be locked; a database knows nothing of drivers that died. So the driver signs the study in the database
and changes its signature every few seconds. Who finds a signature watches it: one that changes belongs to a driver that
lives, one that does not is taken over. No clock of another machine is read.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock, Timeout

from tune.folders import StudyFolder, StudyHeldError
from tune.trouble import TroubleError

BEAT_S = 5.0
WATCH_S = 4 * BEAT_S
ATTRIBUTE = "driver"


def is_database(storage: str) -> bool:
    """Whether a storage is a URL rather than a journal file."""
    return "://" in storage


@contextmanager
def hold_storage(folder: StudyFolder, storage: str) -> Iterator[None]:
    """Be the only driver that writes a journal file within the block; for a database see :func:`lease`.

    Args:
        folder: of the study, whose lock is held; a journal that lies in it needs no other.
        storage: journal file or URL.

    Raises:
        StudyHeldError: somebody writes the journal, from another output folder.
    """
    if is_database(storage) or Path(storage) == folder.journal:
        yield
        return
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{storage}.driver")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StudyHeldError(f"{storage} is being written by another process, from another output folder") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def lease(study: optuna.Study, lost: Callable[[str], None], *, beat_s: float = BEAT_S) -> Iterator[None]:
    """Be the only driver of a study within the block.

    Args:
        study: in a database.
        lost: is told if another driver took the study over, as happens to one that was frozen for long.
        beat_s: interval, in seconds, at which the signature changes.

    Raises:
        StudyHeldError: somebody else is; the message names process and host.
    """
    _wait_for_dead(study, 4 * beat_s)
    mine = {
        "id": uuid.uuid4().hex,
        "pid": os.getpid(),
        "born": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    study.set_user_attr(ATTRIBUTE, {**mine, "beat": 0})
    time.sleep(0.2)  # two that found the study free at once: the last to sign has it
    _check(study, mine)
    leave = threading.Event()
    thread = threading.Thread(target=_beat, args=(study, mine, leave, lost, beat_s), name="plml-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join(beat_s)
        if (_read(study) or {}).get("id") == mine["id"]:
            study.set_user_attr(ATTRIBUTE, None)


def _read(study: optuna.Study) -> dict[str, Any] | None:
    signature: dict[str, Any] | None = study.user_attrs.get(ATTRIBUTE)
    return signature


def _wait_for_dead(study: optuna.Study, watch_s: float) -> None:
    """Return once nobody holds the study; raise StudyHeldError if somebody does."""
    found = _read(study)
    here = found is not None and found["host"] == socket.gethostname()
    if found is None or (here and (found["pid"] == os.getpid() or not _lives_here(found))):
        return
    until = time.monotonic() + watch_s
    while time.monotonic() < until:
        now = _read(study)
        if now is None:
            return
        if now != found:
            raise StudyHeldError(f"study '{study.study_name}' is being run by {_describe(now)}, in the same database")
        time.sleep(0.2)


def _lives_here(signature: dict[str, Any]) -> bool:
    try:
        return psutil.Process(signature["pid"]).create_time() == signature["born"]
    except psutil.NoSuchProcess:
        return False


def _describe(signature: dict[str, Any]) -> str:
    return f"process {signature['pid']} on {signature['host']} (since {signature['since']})"


def _check(study: optuna.Study, mine: dict[str, Any]) -> None:
    now = _read(study)
    if now is None or now["id"] != mine["id"]:
        who = "somebody else" if now is None else _describe(now)
        raise StudyHeldError(f"study '{study.study_name}' is being run by {who}, in the same database")


def _beat(
    study: optuna.Study, mine: dict[str, Any], leave: threading.Event, lost: Callable[[str], None], beat_s: float
) -> None:
    count = 0
    while not leave.wait(beat_s):
        count += 1
        try:
            _check(study, mine)
            study.set_user_attr(ATTRIBUTE, {**mine, "beat": count})
        except (StudyHeldError, TroubleError) as error:
            lost(str(error))
            return
