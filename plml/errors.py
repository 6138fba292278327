"""The errors a user can cause. Each message names the path, the rule, the value and a way out."""

import difflib
from collections.abc import Iterable


class PlmlError(Exception):
    """Base of every error that is the input's fault; the command line prints it without a traceback."""


class ConfigError(PlmlError):
    """A configuration, study or grid says something that cannot be meant."""


class DataError(PlmlError):
    """A data set, list, image, feature or weight file is missing, unreadable or inconsistent."""


class CheckpointError(PlmlError):
    """A checkpoint is missing, damaged or belongs to another configuration."""


class DamagedError(CheckpointError):
    """A file that was written whole lost or changed bytes since."""


class DivergenceError(PlmlError):
    """Training produced a loss or a score that is not finite."""


def nearest(name: str, valid: Iterable[str], *, or_all: bool = True) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name closest to ``name``, or the list of valid names.

    Args:
        name: what was written.
        valid: what could have been meant.
        or_all: list every valid name where none is close; without it, say nothing then.
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid names: {', '.join(names)}" if names and or_all else ""
