"""Who may write a study that lies in a database: one driver, wherever it runs.

A folder can be locked; a database knows nothing of drivers that died. So the driver signs the study in the database
and changes its signature every few seconds. Who finds a signature watches it: one that changes belongs to a driver that
lives, one that does not is taken over. No clock of another machine is read.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.study import StudyDirection

from plml.errors import ConfigError
from tune.folders import StudyFolder, StudyHeldError
from tune.patient_storage import PatientStorage
from tune.records import open_storage
from tune.signature import Signature
from tune.trouble import TroubleError

BEAT_S = 5.0
SHORT_PATIENCE_S = 30.0  # for a database that is away, until the next look
ATTRIBUTE = "driver"


def is_database(storage: str) -> bool:
    """Whether a storage is a URL rather than a journal file."""
    return "://" in storage


@contextmanager
def holding(name: str, folder: StudyFolder, storage: str, mode: str, lost: Callable[[str], None]) -> Iterator[None]:
    """Be the only driver that writes a study's ledger within the block; the study's folder is held already.

    Args:
        name: of the study.
        folder: of the study.
        storage: journal file or URL.
        mode: ``max`` or ``min``.
        lost: is told if another driver took the study over; see :func:`lease`.

    Raises:
        ConfigError: the storage cannot be opened.
        StudyHeldError: somebody else writes it; the message says who.
    """
    if not is_database(storage):
        with _hold_journal(folder, storage):
            yield
        return
    with lease(bare_study(name, storage, mode), lost):
        yield


def bare_study(name: str, storage: str, mode: str = "max") -> optuna.Study:
    """Return a study in a database, begun if it is not there, without reading its trials."""
    direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
    backend = open_storage(storage, say=lambda _: None)
    if isinstance(backend, PatientStorage):
        backend.patience_s = SHORT_PATIENCE_S
    return optuna.create_study(study_name=name, storage=backend, direction=direction, load_if_exists=True)


@contextmanager
def _hold_journal(folder: StudyFolder, storage: str) -> Iterator[None]:
    """Lock a journal file; one that lies in the study's folder needs no lock of its own."""
    if Path(storage) == folder.journal:
        yield
        return
    try:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileNotFoundError, FileExistsError) as error:
        raise ConfigError(f"storage {storage} cannot be opened: {error.strerror}") from None
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
    wait_for_dead(study, 4 * beat_s)
    mine = {"id": uuid.uuid4().hex, **Signature.own().tree()}
    began = time.monotonic()
    study.set_user_attr(ATTRIBUTE, {**mine, "beat": 0})
    # Of two that found the study free at once the last to sign has it, and a slow line signs late.
    time.sleep(max(0.2, 5 * (time.monotonic() - began)))
    _check(study, mine)
    leave = threading.Event()
    thread = threading.Thread(target=_beat, args=(study, mine, leave, lost, beat_s), name="plml-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join(beat_s)
        with suppress(TroubleError):  # the signature stands still, so it will be taken over
            if (_read(study) or {}).get("id") == mine["id"]:
                study.set_user_attr(ATTRIBUTE, None)


def _read(study: optuna.Study) -> dict[str, Any] | None:
    signature: dict[str, Any] | None = study.user_attrs.get(ATTRIBUTE)
    return signature


def wait_for_dead(study: optuna.Study, watch_s: float = 4 * BEAT_S) -> None:
    """Return once nobody holds the study; raise StudyHeldError if somebody does."""
    found = _read(study)
    if found is None or _is_dead(found):
        return
    until = time.monotonic() + watch_s
    while time.monotonic() < until:
        now = _read(study)
        if now is None:
            return
        if now != found:
            raise StudyHeldError(f"study '{study.study_name}' is being run by {_describe(now)}, in the same database")
        time.sleep(0.2)


def _is_dead(signature: dict[str, Any]) -> bool:
    """Whether its process has ended, or is this one, which began again in its place."""
    who, own = Signature.parse(signature), Signature.own()
    return who is not None and (who.is_dead or replace(who, since=own.since) == own)


def _describe(signature: dict[str, Any]) -> str:
    return str(Signature.parse(signature) or "another process")


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
        except TroubleError:
            continue  # it is away for everybody; whose the study is shows when it is back
        except Exception as error:  # noqa: BLE001 - not to know is to have lost it
            lost(str(error))
            return
