"""Reading a ledger, also while a driver writes it: storages, trials, states, the best, the failures."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from plml.errors import ConfigError, nearest
from plml.tracking_uri import told_secret, without_password
from tune.folders import StudyFolder
from tune.journal import DriverJournal
from tune.patient_storage import PatientStorage

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_storage(
    storage: str,
    *,
    repair: bool = False,
    say: Callable[[str], None] | None = None,
    hurry: Callable[[], bool] = lambda: False,
) -> BaseStorage:
    """Open a journal file or a database URL.

    Args:
        storage: path of a journal file, or a URL such as ``sqlite:////ABS/study.db`` or ``postgresql+psycopg2://...``.
        repair: only for the holder of the study's lock, who writes: remove what a killed driver left behind, a
            lock file and a torn last line.
        say: given by who writes: is told when a database is away; it is waited for.
        hurry: whether a database is not to be waited for any more.

    Raises:
        ConfigError: the storage cannot be opened, or its URL holds a password.
    """
    if secret := told_secret(storage, "the storage"):
        raise ConfigError(secret)
    try:
        if "://" in storage:
            return RDBStorage(storage) if say is None else PatientStorage(storage, say, hurry=hurry)
        file = Path(storage)
        file.parent.mkdir(parents=True, exist_ok=True)
        if repair:
            repair_journal(file)
            return JournalStorage(DriverJournal(file))
        return JournalStorage(JournalFileBackend(str(file)))
    except Exception as error:  # Optuna lets through whatever the database's driver raises, ImportError included
        reason = " ".join(str(error).split())
        raise ConfigError(f"storage {without_password(storage)} cannot be opened: {reason}") from error


def repair_journal(file: Path) -> None:
    """Remove a dead driver's lock and cut off a last line that was not written to its end."""
    lock = file.with_name(f"{file.name}.lock")
    if lock.is_symlink():
        lock.unlink()
    if not file.is_file():
        return
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        with file.open("rb+") as journal:
            journal.truncate(content.rfind(b"\n") + 1)


def open_study(folder: StudyFolder, storage: str | None = None) -> optuna.Study:
    """Open the ledger of a study that was begun, for reading.

    Raises:
        ConfigError: there is none.
    """
    where = folder.storage(storage)
    missing = "://" not in where and not Path(where).is_file()
    try:
        if not missing:
            return optuna.load_study(study_name=folder.name, storage=open_storage(where))
    except KeyError:
        pass  # the storage holds other studies only
    begun = [file.parent.name for file in folder.path.parent.glob("*/study.yaml")]
    known = nearest(folder.name, begun) if folder.name not in begun else ""
    known = known or "; was it begun, and is this its output folder?"
    raise ConfigError(f"there is no study '{folder.name}' in {where}{known}")


def counted_trials(study: optuna.Study, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
    """Return the study's own trials that were begun, one a key (the last), by key; ``states`` narrows them down.

    Prior knowledge from another study and draws of a configuration that was known already do not count.
    """
    own = [t for t in study.get_trials(deepcopy=False) if "key" in t.user_attrs and "prior" not in t.user_attrs]
    last = {trial.user_attrs["key"]: trial for trial in own}
    return [last[key] for key in sorted(last) if states is None or last[key].state in states]


def state_of(trial: FrozenTrial) -> str:
    """Return COMPLETE, PRUNED, FAILED, RUNNING or INTERRUPTED."""
    names = {TrialState.FAIL: "FAILED", TrialState.WAITING: "INTERRUPTED"}
    return names.get(trial.state, trial.state.name)


def is_success(trial: FrozenTrial) -> bool:
    """Whether a trial ended well: at its end, or because the pruner stopped it."""
    return trial.state == TrialState.COMPLETE or (
        trial.state == TrialState.PRUNED and trial.user_attrs.get("reason") == "pruned"
    )


def best_trials(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """Return up to ``count`` complete trials, best first; ties go to the earlier one."""
    complete = counted_trials(study, (TrialState.COMPLETE,))
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    return sorted(complete, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))[:count]


def failures(trials: Iterable[FrozenTrial]) -> Counter[str]:
    """Return how often each reason ended a trial that did not end well."""
    ended = [trial for trial in trials if trial.state in ENDED and not is_success(trial)]
    return Counter(
        f"{trial.user_attrs.get('reason', 'failed').replace('_', ' ')}: {trial.user_attrs.get('error', 'unknown')}"
        for trial in ended
    )
