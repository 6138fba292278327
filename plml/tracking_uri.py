"""Which addresses of an MLflow store every process of a study may use, from any folder and at the same time."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from plml.errors import PlmlError

LOCAL_UI = "http://127.0.0.1:5000"


class TrackingError(PlmlError):
    """The tracking store cannot be used as asked, or does not answer."""


def check_uri(uri: str) -> str:
    """Return ``uri`` without blanks around it.

    Raises:
        TrackingError: it is relative, a folder, in memory, or of an unknown kind; the message holds the exact
            text to type instead.
    """
    text = uri.strip()
    scheme = text.split(":", 1)[0].lower() if re.match(r"^[A-Za-z][A-Za-z0-9+.\-]*:", text) else ""
    if scheme in ("http", "https"):
        if not urlsplit(text).hostname:
            raise TrackingError(f"tracking URI '{uri}' names no host; type for example {LOCAL_UI}")
        return text.rstrip("/")
    if scheme.split("+")[0] == "postgresql":
        return text
    if scheme == "sqlite":
        path = re.sub(r"^(///|//)?", "", text.split(":", 1)[1], count=1)
        if text.startswith("sqlite:////") and path.strip("/"):
            return text
        if path.strip("/") in ("", ":memory:"):
            raise TrackingError(f"tracking URI '{uri}' names no file that other processes could open; {_type()}")
        raise TrackingError(f"tracking URI '{uri}' is relative to a folder that changes; {_type(path)}")
    if scheme in ("", "file"):
        path = re.sub(r"^file:(//)?", "", text)
        file = path if path.endswith((".db", ".sqlite")) else f"{path.rstrip('/')}/mlflow.db"
        raise TrackingError(f"tracking URI '{uri}' is a folder or file, and MLflow needs a database; {_type(file)}")
    raise TrackingError(
        f"tracking URI '{uri}' must begin with sqlite:////, http://, https:// or postgresql://; {_type()}"
    )


def sqlite_file(uri: str) -> Path | None:
    """Return the database file of a ``sqlite:////`` URI, None for any other store."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:") else None


def without_password(uri: str) -> str:
    """Return ``uri`` fit to be printed."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", uri)


def _type(path: str = "mlflow.db") -> str:
    """The exact text to type for a database at ``path``."""
    return f"type sqlite:///{Path(path).expanduser().absolute()}"
