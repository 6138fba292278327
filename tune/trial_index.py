"""What the driver knows of its trials by heart, so that asking for the next one does not search through all."""

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from tune.records import ENDED


class TrialIndex:
    """Counts and look-ups over the trials of a study; exact while every change is shown to :meth:`see`.

    Prior knowledge from another study and draws of a known configuration have no key of their own and are not
    counted; of several trials under one key the last counts, as in :func:`tune.records.counted_trials`.

    Args:
        trials: the trials there are.

    Attributes:
        total: trials of any kind; the number that the next one gets.
        begun: keys.
        ended: keys whose last trial has ended.
        waiting: numbers of trials that were enqueued or put back.
        taken: labels of points to try first, and cells of a grid, that a trial was made for.
        keys: the key that a configuration's fingerprint was trained under.
    """

    def __init__(self, trials: Iterable[FrozenTrial]) -> None:
        self.total = self.ended = 0
        self.waiting: set[int] = set()
        self.taken: set[str] = set()
        self.keys: dict[str, str] = {}
        self._last: dict[str, tuple[int, bool]] = {}  # key -> number, ended
        for trial in trials:
            self.see(trial)

    @property
    def begun(self) -> int:
        """How many keys there are."""
        return len(self._last)

    def see(self, trial: FrozenTrial) -> None:
        """Take note of a trial as it is now."""
        self.total = max(self.total, trial.number + 1)
        if trial.state == TrialState.WAITING:
            self.waiting.add(trial.number)
        else:
            self.waiting.discard(trial.number)
        attrs = trial.user_attrs
        if "fixed" in attrs:
            self.taken.add(attrs["fixed"])
        if "key" not in attrs or "prior" in attrs:
            return
        key, now = attrs["key"], (trial.number, trial.state in ENDED)
        before = self._last.get(key, (-1, False))
        if before[0] > trial.number:
            return
        self.ended += now[1] - before[1]
        self._last[key] = now
        if "fingerprint" in attrs:
            self.keys[attrs["fingerprint"]] = key
