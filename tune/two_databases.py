"""The ledger and MLflow each need a database of their own: both keep the version of their tables in one place."""

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from plml.errors import ConfigError
from plml.tracking_uri import without_password

_LOCAL = {"", "localhost", "::1"}


def check_two_databases(storage: str, tracking_uri: str | None) -> None:
    """Raise ConfigError if the ledger's storage and MLflow's store are one database.

    Whoever came second would find the other's version there and refuse to begin, or bring tables up to date that are
    not its own.

    Args:
        storage: journal file or URL.
        tracking_uri: MLflow's; None: nothing is tracked.
    """
    place = _place(storage)
    if tracking_uri is not None and place is not None and place == _place(tracking_uri):
        raise ConfigError(
            f"--storage {without_password(storage)} and --tracking-uri {without_password(tracking_uri)} are one "
            f"database; Optuna and MLflow need one each: create another, for example '{place[-1]}_mlflow'"
        )


def _place(url: str) -> tuple[str, str, int, str] | None:
    """Return what tells databases apart: kind, host, port, name; None for what is none."""
    try:
        parts = make_url(url)
    except ArgumentError:
        return None
    kind = parts.get_backend_name()
    if kind in ("http", "https") or not parts.database:
        return None
    host = "127.0.0.1" if (parts.host or "") in _LOCAL else str(parts.host).lower()
    return kind, host, parts.port or (5432 if kind == "postgresql" else 0), parts.database
