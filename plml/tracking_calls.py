"""Calls that end in time, and what to tell the user when they go wrong."""

import re
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bounded(call: Callable[[], T], limit_s: float) -> T:
    """Return ``call()`` or raise what it raised; raise TimeoutError after ``limit_s`` and let it end by itself."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            errors.append(error)

    thread = threading.Thread(target=run, name="plml-tracking", daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return results[0]


def reason(error: BaseException, uri: str) -> str:
    """One line that says what is wrong, with the command that mends it where there is one."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "out-of-date database schema" in text:
        return f"its schema is of another MLflow version; back the database up, then type: mlflow db upgrade '{uri}'"
    if isinstance(error, ModuleNotFoundError) and "psycopg" in text:
        return f"{text}; install plml[postgresql] and begin the URI with postgresql+psycopg2://"
    # SQLAlchemy wraps what the database says in its own advice, and adds the statement.
    if found := re.search(r"\((?:sqlite3|psycopg2?)\.[\w.]+\) (.+?)(?: \[SQL:| \(Background on|$)", text):
        text = found[1]
    return text if len(text) <= 300 else f"{text[:300]} ..."
