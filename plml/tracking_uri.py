"""Which addresses of an MLflow store every process of a study may use, from any folder and at the same time."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from plml.errors import PlmlError
from plml.user_path import user_path

LOCAL_UI = "http://127.0.0.1:5000"
_SECRETS = "password|passwd|pwd|sslpassword|token|access_token|secret|api_key"  # parameters of an address


class TrackingError(PlmlError):
    """The tracking store cannot be used as asked, or does not answer."""


def check_uri(uri: str) -> str:
    """Return ``uri`` without blanks around it.

    Raises:
        TrackingError: it is relative, a folder, in memory, or of an unknown kind; the message holds the exact
            text to type instead. Or it holds a password.
    """
    text = uri.strip()
    if secret := told_secret(text, "the tracking URI"):
        raise TrackingError(secret)
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
    """Return ``uri`` fit to be printed; a password may hold any character, so all up to the last ``@`` counts."""
    shown = re.sub(rf"([?&](?:{_SECRETS})=)[^&#]*", r"\1***", uri, flags=re.IGNORECASE)
    scheme, slashes, rest = shown.partition("://")
    login, at, place = rest.rpartition("@")
    if not at or scheme.startswith("sqlite"):
        return shown
    user, colon, _ = login.partition(":")
    return f"{scheme}{slashes}{user}{':***' if colon else ''}@{place}"


def told_secret(url: str, what: str) -> str | None:
    """Return what is wrong if the address of a database or server holds a password or token, else None.

    An address is written into study folders, noted in ledgers, sent to workers and printed, so it must not hold any.
    Every program that is reached by one takes the password from a better place.

    Args:
        url: the address.
        what: is named so in the message.
    """
    scheme, _, rest = url.strip().partition("://")
    login, at, _ = rest.rpartition("@")
    is_server = scheme.lower() in ("http", "https")  # whose user alone may be a token
    in_login = bool(at) and not scheme.lower().startswith("sqlite") and (":" in login or is_server)
    if not in_login and not re.search(rf"[?&](?:{_SECRETS})=[^&#]", url, flags=re.IGNORECASE):
        return None
    place = (
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment, or in "
        "the file ~/.mlflow/credentials"
        if is_server
        else "PGPASSWORD in the environment, or in the file ~/.pgpass (PGPASSFILE names another)"
    )
    shown = re.sub(r"//.*@", "//***@", without_password(url)) if is_server else without_password(url)
    return (
        f"{what} {shown} holds a password, which process lists, files and logs would show; leave it out, and give it "
        f"as {place}"
    )


def _type(path: str = "mlflow.db") -> str:
    """The exact text to type for a database at ``path``."""
    return f"type sqlite:///{user_path(path).absolute()}"
