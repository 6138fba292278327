"""A database that is away for a while: what the ledger asks of it is asked again until it answers.

Only the driver writes, so what a lost answer leaves open can be looked up afterwards: whether a trial was created, and
whether a state was set, before the connection broke.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from plml.tracking_uri import without_password
from tune.trouble import TroubleError

PATIENCE_S = 600.0
PAUSES_S = (0.1, 0.3, 1.0, 2.0, 5.0)  # the last again and again
TOLD_FROM = 3  # attempts that nobody needs to hear of


def _patiently(name: str) -> Any:
    def method(self: "PatientStorage", *arguments: Any, **named: Any) -> Any:
        return self.patiently(lambda: getattr(self.inner, name)(*arguments, **named))

    method.__name__ = name
    method.__doc__ = f"See :meth:`optuna.storages.BaseStorage.{name}`."
    return method


class PatientStorage(BaseStorage):
    """The storage of a ledger that one driver writes.

    Args:
        url: of the database, with what its driver for Python needs.
        say: is told, one line, when the database is away and when it is back.
        hurry: whether it is not to be waited for any more.
        patience_s: longest time, in seconds, to wait for it.

    Raises:
        Exception: whatever the database's driver raises if it cannot be opened now.
    """

    def __init__(
        self,
        url: str,
        say: Callable[[str], None],
        *,
        hurry: Callable[[], bool] = lambda: False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        # Connections are tried before they are used: those from before a restart are of no use.
        self.inner = get_storage(RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))
        self.name, self.say, self.patience_s = without_password(url), say, patience_s
        self._newest: dict[int, int] = {}  # by study: the last trial that was there or was created
        self._hurry = hurry
        self._away = self._gave_up = False
        # It prints statements of a query that it then tries in another way; whoever is away is told of below.
        logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)

    def patiently(self, call: Callable[[], Any], landed: Callable[[], Any] | None = None) -> Any:
        """Return ``call()``, asked again while the database is away.

        Args:
            call: asks the database.
            landed: called before every further attempt; returns the answer if the one before came through after all,
                else None.

        Raises:
            TroubleError: the database did not answer in time.
        """
        began, attempt = time.monotonic(), 0
        while True:
            try:
                answer = landed() if attempt and landed is not None else None
                answer = call() if answer is None else answer
            except Exception as error:
                cause = absence(error)
                if cause is None:
                    raise
            else:
                self._gave_up = False
                if self._away:
                    self._away = False
                    self.say(f"{self.name} answers again")
                return answer
            waited = time.monotonic() - began
            if waited > self.patience_s or self._gave_up or self._hurry():
                self._gave_up = True  # what follows, to put things in order, does not wait as long again
                raise TroubleError(f"{self.name} did not answer for {waited:.0f} s: {cause}")
            if attempt == TOLD_FROM and not self._away:
                self._away = True
                self.say(f"{self.name} does not answer: {cause}; waiting up to {self.patience_s / 60:.0f} min")
            time.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])
            attempt += 1

    # -- what must not happen twice -----------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See :meth:`optuna.storages.BaseStorage.create_new_trial`."""
        if study_id not in self._newest:
            self._newest[study_id] = self.patiently(lambda: self._last_of(study_id))

        def landed() -> int | None:
            known = self._newest[study_id]
            created = [trial._trial_id for trial in self._trials(study_id) if trial._trial_id > known]
            for other in created[1:]:
                self.inner.set_trial_state_values(other, TrialState.FAIL)  # it has no key, so it never counts
            return created[0] if created else None

        self._newest[study_id] = self.patiently(lambda: self.inner.create_new_trial(study_id, template_trial), landed)
        return self._newest[study_id]

    def _trials(self, study_id: int) -> list[FrozenTrial]:
        return self.inner.get_all_trials(study_id, deepcopy=False)

    def _last_of(self, study_id: int) -> int:
        return max((trial._trial_id for trial in self._trials(study_id)), default=-1)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See :meth:`optuna.storages.BaseStorage.set_trial_state_values`."""

        def landed() -> bool | None:
            return True if self.inner.get_trial(trial_id).state == state else None

        def call() -> bool:
            try:
                return self.inner.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if landed():
                    return True
                raise

        done: bool = self.patiently(call, landed)
        return done

    # -- what may -----------------------------------------------------------------------------------------

    create_new_study = _patiently("create_new_study")
    delete_study = _patiently("delete_study")
    set_study_user_attr = _patiently("set_study_user_attr")
    set_study_system_attr = _patiently("set_study_system_attr")
    get_study_id_from_name = _patiently("get_study_id_from_name")
    get_study_name_from_id = _patiently("get_study_name_from_id")
    get_study_directions = _patiently("get_study_directions")
    get_study_user_attrs = _patiently("get_study_user_attrs")
    get_study_system_attrs = _patiently("get_study_system_attrs")
    get_all_studies = _patiently("get_all_studies")
    set_trial_param = _patiently("set_trial_param")
    get_trial_id_from_study_id_trial_number = _patiently("get_trial_id_from_study_id_trial_number")
    set_trial_intermediate_value = _patiently("set_trial_intermediate_value")
    set_trial_user_attr = _patiently("set_trial_user_attr")
    set_trial_system_attr = _patiently("set_trial_system_attr")
    get_trial = _patiently("get_trial")
    get_all_trials = _patiently("get_all_trials")
    get_n_trials = _patiently("get_n_trials")
    get_best_trial = _patiently("get_best_trial")
    remove_session = _patiently("remove_session")


def absence(error: BaseException) -> str | None:
    """Return why the database does not answer now, one line; None if it does and ``error`` is about something else."""
    link: BaseException | None = error
    # What broke first is behind what Optuna and SQLAlchemy said next: after a lost connection Optuna tries a query in
    # the same transaction once more, and is told of the transaction only.
    while isinstance(link, StorageInternalError | SQLAlchemyError):
        if isinstance(link, PoolTimeoutError):
            return "no connection comes free"
        if isinstance(link, DataError | IntegrityError | ProgrammingError):
            return None
        if isinstance(link, DBAPIError):
            return " ".join(str(link.orig).split())[:200]
        link = link.__cause__ or link.__context__
    return None
