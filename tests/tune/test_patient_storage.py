"""A database that is away is waited for, and what it did before its answer was lost is not done again."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError

from tune.patient_storage import PatientStorage, absence
from tune.trouble import TroubleError


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def storage(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> PatientStorage:
    monkeypatch.setattr("tune.patient_storage.PAUSES_S", (0.01,))
    return PatientStorage(f"sqlite:///{tmp_path}/study.db?timeout=0.01", said.append)


def away(message: str = "server closed the connection unexpectedly") -> StorageInternalError:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = OperationalError("COMMIT", {}, Exception(message))
    return error


def losing_answers(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return ``call`` with a connection that breaks after the database has done it, ``times`` times."""
    left = [times]

    def wrapped(*arguments: Any, **named: Any) -> Any:
        answer = call(*arguments, **named)
        if left[0]:
            left[0] -= 1
            raise away()
        return answer

    return wrapped


def failing(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    """Return ``call`` of a database that is away ``times`` times."""
    left = [times]

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise away()
        return call(*arguments, **named)

    return wrapped


def test_a_study_lives_in_it_as_in_any_storage(storage: PatientStorage) -> None:
    study = optuna.create_study(storage=storage, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    study.enqueue_trial({"x": 0.5}, user_attrs={"key": "0003"})
    assert study.ask().user_attrs == {"key": "0003"}
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["RUNNING"]
    assert study.best_value == max(trial.value for trial in study.trials[:3])


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("break_", [losing_answers, failing])
def test_a_trial_is_created_once_whatever_breaks(storage: PatientStorage, break_: Any, times: int) -> None:
    study = optuna.create_study(storage=storage)
    study.ask()
    storage.inner.create_new_trial = break_(storage.inner.create_new_trial, times)  # type: ignore[method-assign]
    assert study.ask().number == 1
    assert study.ask().number == 2
    assert len(study.trials) == 3


@pytest.mark.parametrize("break_", [losing_answers, failing])
def test_a_state_is_set_once_whatever_breaks(storage: PatientStorage, break_: Any) -> None:
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    storage.inner.set_trial_state_values = break_(storage.inner.set_trial_state_values, 1)  # type: ignore[method-assign]
    study.tell(trial, 1.0)
    assert study.trials[0].value == 1.0
    study.enqueue_trial({})
    storage.inner.set_trial_state_values = break_(storage.inner.set_trial_state_values, 1)  # type: ignore[method-assign]
    assert study.ask().number == 1  # the one that waited, not a third
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_locked_database_is_waited_for_and_told_once(
    storage: PatientStorage, said: list[str], tmp_path: Path
) -> None:
    study = optuna.create_study(storage=storage)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        writer = threading.Thread(target=study.set_user_attr, args=("a", 1))
        writer.start()
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        other.execute("ROLLBACK")
        writer.join()
    assert study.user_attrs == {"a": 1}
    assert len(said) == 2
    assert "database is locked" in said[0]
    assert said[1].endswith("answers again")


@pytest.mark.parametrize("table", ["trials", "trial_values", "trial_user_attributes"])
def test_a_connection_lost_in_the_middle_of_a_reading_is_waited_for(
    storage: PatientStorage, table: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna asks again in the transaction that broke; SQLAlchemy then speaks of the transaction only."""
    study = optuna.create_study(storage=storage)
    study.ask()
    left = [1]

    def lose(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if f"FROM {table}" in statement and left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    def as_lost(context: Any) -> None:
        context.is_disconnect = True

    engine = storage.inner._backend.engine  # type: ignore[attr-defined]
    monkeypatch.setattr(logging.getLogger("optuna"), "propagate", True)  # caplog sees it
    event.listen(engine, "do_execute", lose)
    event.listen(engine, "handle_error", as_lost)
    with caplog.at_level(logging.WARNING):
        assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]
    assert left == [0]
    assert not caplog.records
    study.tell(0, 1.0)
    assert study.best_value == 1.0


def test_patience_ends(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.patient_storage.PAUSES_S", (0.01,))
    storage = PatientStorage(f"sqlite:///{tmp_path}/study.db", said.append, patience_s=0.1)
    with pytest.raises(TroubleError, match=r"study\.db did not answer for .*connection unexpectedly"):
        storage.patiently(failing(lambda: 1, 1000))
    assert len(said) == 1
    assert storage.patiently(lambda: 1) == 1
    assert "answers again" in said[-1]


def test_once_given_up_what_follows_does_not_wait_again(storage: PatientStorage) -> None:
    storage.patience_s = 0.2
    away_for_good = failing(lambda: 1, 10**6)
    with pytest.raises(TroubleError):
        storage.patiently(away_for_good)
    storage.patience_s = 600.0
    began = time.monotonic()
    with pytest.raises(TroubleError):
        storage.patiently(away_for_good)
    assert time.monotonic() - began < 5
    assert storage.patiently(failing(lambda: 2, 0)) == 2
    assert storage.patiently(failing(lambda: 3, 2)) == 3  # and it is waited for again


def test_whoever_is_in_a_hurry_does_not_wait(tmp_path: Path, said: list[str]) -> None:
    hurried: list[bool] = []
    storage = PatientStorage(f"sqlite:///{tmp_path}/study.db", said.append, hurry=lambda: bool(hurried))
    threading.Timer(0.5, hurried.append, (True,)).start()
    began = time.monotonic()
    with pytest.raises(TroubleError):
        storage.patiently(failing(lambda: 1, 10**6))
    assert time.monotonic() - began < 10


def test_passwords_are_not_told() -> None:
    with pytest.raises(Exception, match=r"(?s)^(?!.*secret).*$"):
        PatientStorage("postgresql+psycopg2://me:secret@127.0.0.1:9/db", lambda _: None)


def test_what_is_no_absence_is_raised(storage: PatientStorage) -> None:
    def broken() -> None:
        raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))

    with pytest.raises(IntegrityError):
        storage.patiently(broken)
    assert absence(ValueError("no")) is None
    assert absence(away("gone")) == "gone"
    follows = PendingRollbackError("the transaction is invalid")
    assert absence(follows) is None
    follows.__context__ = IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
    assert absence(follows) is None
