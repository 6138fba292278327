"""What goes wrong on our side of a Tuner comes out as it was."""

import errno
from pathlib import Path

import pytest

from tune.execution import _fit
from tune.stopping import Stopper
from tune.trouble import TroubleError


class Tuner:
    """Raises as Tune does when a scheduler or searcher raises: with the text of what it was."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fit(self) -> None:
        from ray.tune import TuneError

        try:
            raise self.error
        except type(self.error):
            raise TuneError("a traceback as text")  # noqa: B904 - as Tune does


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), TroubleError("gone")])
def test_our_errors_come_out_as_they_were(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error), match=str(error.args[-1])):
        _fit(Tuner(error), tmp_path, Stopper())


def test_others_stay_what_tune_makes_of_them(tmp_path: Path) -> None:
    from ray.tune import TuneError

    with pytest.raises(TuneError):
        _fit(Tuner(ValueError("a bug")), tmp_path, Stopper())
