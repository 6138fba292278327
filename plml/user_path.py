"""A path as a user writes it."""

from pathlib import Path

from plml.errors import ConfigError


def user_path(text: str | Path) -> Path:
    """Return the path with ``~`` or ``~name`` replaced by that user's home; raise ConfigError if there is none."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{text}: there is no home folder of '{Path(text).parts[0]}'") from None
