"""The ledger: an Optuna study in a storage holds every trial; whatever runs can be killed and read back from it.

A trial that did not end is put back to WAITING with its number, parameters, intermediate values and pruner state
intact, so a study of n configurations has n Optuna trials however often its driver died.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from plml.errors import ConfigError
from tune.code_version import code_digest, commit
from tune.definition import keep_definition
from tune.folders import StudyFolder, StudyHeldError
from tune.journal import DriverJournal
from tune.patience import PatiencePruner
from tune.pruning import KnownMedianPruner
from tune.records import counted_trials, open_storage
from tune.samplers import build_pruner, build_sampler
from tune.study import Study
from tune.trial_index import TrialIndex
from tune.warm_start import InformedSampler, lessons, prior_trials

DRIVER_DEATHS = 10  # deaths of the driver during one trial, without an epoch of progress, before the trial is given up
EXHAUSTED = "exhausted"  # attribute of a study: with which budget the space held nothing new
DUPLICATES = 50  # known configurations drawn in a row before a space counts as exhausted


@dataclass(frozen=True)
class Asked:
    """A trial that is to be trained now.

    Attributes:
        trial: Optuna's handle.
        key: its name, which stays the same through all attempts; also the name of its run folder.
        values: ``{path: value}``.
        attempt: 1 for the first.
    """

    trial: Trial
    key: str
    values: Mapping[str, Any]
    attempt: int


class Ledger:
    """The study's trials. Only the holder of the study's lock may write.

    Therefore what it asks for with every trial is known by heart, and nothing here searches through all trials.
    Any of its threads may write; see :class:`tune.journal.DriverJournal` for when the disk knows.

    Args:
        study: the checked study file.
        folder: where it runs.
        storage: journal file or URL.
        n_trials: budget of unique configurations.
        say: is told, one line, when a database is away and when it is back.
        hurry: whether a database that is away is not to be waited for.

    Raises:
        ConfigError: the storage cannot be opened, or holds this study with another search space, base
            configuration or objective.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        storage: str,
        n_trials: int,
        *,
        say: Callable[[str], None] = lambda _: None,
        hurry: Callable[[], bool] = lambda: False,
    ) -> None:
        self.study, self.folder, self.storage, self.n_trials = study, folder, storage, n_trials
        self._lock = threading.RLock()
        backend = open_storage(storage, repair=True, say=say, hurry=hurry)
        self._journal = getattr(backend, "_backend", None)
        self.optuna = optuna.create_study(
            study_name=study.name,
            storage=backend,
            direction="maximize" if study.config.objective.mode == "max" else "minimize",
            load_if_exists=True,
            pruner=build_pruner(study.config.pruner, study.base.total_epochs),
        )
        keep_definition(self.optuna, study, folder)
        attrs = self.optuna.user_attrs
        self.uid: str = attrs["uid"]  # tells this study from another of the same name
        self._notes: dict[str, dict[str, Any]] = {
            name.removeprefix("note "): kept for name, kept in attrs.items() if name.startswith("note ")
        }
        self._index = TrialIndex([])
        outer = self.optuna.pruner
        pruner = outer.wrapped if isinstance(outer, PatiencePruner) else outer
        self._learning = pruner if isinstance(pruner, KnownMedianPruner) else None
        for trial in self.optuna.get_trials(deepcopy=False):
            self._know(trial)
        self._cells: Iterator[dict[str, Any]] | None = None
        self._duplicates_in_a_row = 0
        self._exhausted = False
        self._lost = ""
        self._refusal: ConfigError | None = None
        self._prior: list[FrozenTrial] = []

    # -- whose it is --------------------------------------------------------------------------------------

    def disown(self, why: str) -> None:
        """Another driver has the study: whatever would be written from here on raises StudyHeldError."""
        self._lost = why

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            if self._lost:
                raise StudyHeldError(self._lost)
            yield

    # -- reading ------------------------------------------------------------------------------------------

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the study's own trials, see :func:`counted_trials`."""
        return counted_trials(self.optuna, states or None)

    def total(self) -> int:
        """Return the number that the next trial gets; prior knowledge and known configurations have numbers too."""
        return self._index.total

    def begun(self) -> int:
        """Return how many unique configurations were begun."""
        return self._index.begun

    def ended(self) -> int:
        """Return how many unique configurations have ended."""
        return self._index.ended

    @property
    def exhausted(self) -> bool:
        """Whether the sampler draws nothing but known configurations, or the grid has no further cell."""
        return self._exhausted

    def has_work(self) -> bool:
        """Whether an interrupted trial waits, or the budget is not used up."""
        return bool(self._index.waiting) or self.begun() < self.n_trials

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self) -> Asked | None:
        """Return the next trial: an interrupted one, a point to try first, or a new draw; None when nothing is left.

        Raises:
            ConfigError: the draw cannot be trained; it is in the ledger as such, and the next call draws again.
        """
        with self._writing():
            return self._ask()

    def ask_many(self, count: int) -> list[Asked]:
        """Return the next ``count`` trials, fewer when nothing is left; the draws are those of as many :meth:`ask`.

        Raises:
            ConfigError: the first draw cannot be trained, see :meth:`ask`. A later one ends the list, so that what
                was asked before it is not lost, and its error is raised by the next call.
        """
        if self._refusal is not None:
            error, self._refusal = self._refusal, None
            raise error
        asked: list[Asked] = []
        while len(asked) < count:
            try:
                one = self.ask()
            except ConfigError as error:
                if not asked:
                    raise
                self._refusal = error
                break
            if one is None:
                break
            asked.append(one)
        return asked

    def _ask(self) -> Asked | None:
        while True:
            if not self._index.waiting:
                if self.begun() >= self.n_trials:
                    return None
                if self._duplicates_in_a_row >= DUPLICATES:
                    self._exhaust()
                    return None
                fixed = self._next_fixed()
                if fixed is not None:
                    self._enqueue(fixed.pop("params"), fixed)
                elif self.study.config.sampler.name == "grid":
                    self._exhaust()
                    return None
            number = min(self._index.waiting, default=self._index.total)
            sampler = build_sampler(self.study.config.sampler, number, conditional=self.study.space.is_conditional)
            self.optuna.sampler = InformedSampler(sampler, self._prior) if self._prior else sampler
            trial = self.optuna.ask()
            try:
                asked = self._begin(trial)
            finally:
                self._see(trial)
            if asked is not None:
                return asked

    def _exhaust(self) -> None:
        self._exhausted = True
        self.optuna.set_user_attr(EXHAUSTED, self.n_trials)

    def _begin(self, trial: Trial) -> Asked | None:
        """Give a trial its key, or drop it if its configuration is known already."""
        values = self.study.space.suggest(trial)
        attempt, code = trial.user_attrs.get("attempt", 1), code_digest()
        if "key" in trial.user_attrs:
            before = trial.user_attrs.get("code", code)
            if code not in before.split("+"):
                trial.set_user_attr("code", f"{before}+{code}")
            return Asked(trial, trial.user_attrs["key"], values, attempt)
        try:
            fingerprint = self.study.space.resolve(values).fingerprint
        except ConfigError as error:
            trial.set_user_attr("values", values)
            trial.set_user_attr("key", f"{trial.number:04d}")
            self.tell_violation(trial, "invalid", str(error))
            raise
        known = self._index.keys.get(fingerprint)
        if known is not None:
            trial.set_user_attr("duplicate", f"the same configuration as trial {known}")
            self.optuna.tell(trial, state=TrialState.FAIL)
            self._duplicates_in_a_row += 1
            return None
        self._duplicates_in_a_row = 0
        key = f"{trial.number:04d}"
        for name, value in (
            ("values", values),
            ("fingerprint", fingerprint),
            ("attempt", attempt),
            ("code", code),
            ("key", key),
        ):
            trial.set_user_attr(name, value)  # the key last: with it the trial counts as begun
        return Asked(trial, key, values, attempt)

    def _next_fixed(self) -> dict[str, Any] | None:
        """Return the first point, or cell of the grid, that no trial was made for yet."""
        taken = self._index.taken
        for place, params in enumerate(self.study.points):
            if f"point {place}" not in taken:
                return {"params": dict(params), "fixed": f"point {place}"}
        if self.study.config.sampler.name != "grid":
            return None
        if self._cells is None:
            self._cells = self.study.space.cells()
        for cell in self._cells:
            label = json.dumps(cell, sort_keys=True)
            if label not in taken:
                return {"params": self.study.space.to_params(cell, "grid"), "fixed": label}
        return None

    def _enqueue(self, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> None:
        self.optuna.enqueue_trial(dict(params), user_attrs=dict(user_attrs))
        self._see_number(self._index.total)

    def _see(self, trial: Trial | FrozenTrial) -> None:
        """Take note of a trial that was changed."""
        self._know(self.frozen(trial))

    def _see_number(self, number: int) -> None:
        storage = self.optuna._storage
        identifier = storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)
        self._know(storage.get_trial(identifier))

    def _know(self, trial: FrozenTrial) -> None:
        self._index.see(trial)
        if self._learning is not None:
            self._learning.learn(trial)

    # -- telling ------------------------------------------------------------------------------------------

    def report(self, trial: Trial, values: Sequence[tuple[int, float]]) -> None:
        """Store running bests ``(epoch, value)``; those that are stored already stay."""
        self.report_many([(trial, values)])

    def report_many(self, reports: Iterable[tuple[Trial, Sequence[tuple[int, float]]]]) -> None:
        """Store the reports of several trials, see :meth:`report`."""
        with self._writing():
            for trial, values in reports:
                known = self.frozen(trial).intermediate_values
                for epoch, value in values:
                    if epoch + 1 not in known:
                        trial.report(value, epoch + 1)  # Optuna's step: completed epochs

    def tell_complete(self, trial: Trial, value: float) -> None:
        """The trial trained to its end."""
        self._tell(trial, TrialState.COMPLETE, {}, value)

    def tell_pruned(self, trial: Trial) -> None:
        """The pruner stopped the trial."""
        self._tell(trial, TrialState.PRUNED, {"reason": "pruned"})

    def tell_violation(self, trial: Trial, kind: str, detail: str) -> None:
        """The configuration cannot be trained: ``diverged``, ``out_of_memory`` or ``invalid``.

        Told as PRUNED with a violated constraint: samplers learn from that to keep away, and ignore a FAIL.
        """
        with self._writing():
            trial.set_constraint(kind, 1.0)
            self._tell(trial, TrialState.PRUNED, {"reason": kind, "error": detail})

    def tell_failed(self, trial: Trial, detail: str) -> None:
        """The trial could not be run."""
        self._tell(trial, TrialState.FAIL, {"reason": "failed", "error": detail})

    def _tell(self, trial: Trial, state: TrialState, attrs: Mapping[str, str], value: float | None = None) -> None:
        with self._writing():
            for name, text in attrs.items():
                trial.set_user_attr(name, text)
            self.optuna.tell(trial, value, state=state)
            self._see(trial)

    def put_back(self, trial: Trial | FrozenTrial, *, attempt: int | None = None, error: str = "") -> None:
        """Let a running trial wait for its next attempt, with everything it has."""
        with self._writing():
            if attempt is not None:
                self._set_attr(trial, "attempt", attempt)
            if error:
                self._set_attr(trial, "last_error", error)
            self.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            self._see(trial)

    def sign_code(self) -> str | None:
        """Note which code trains from here on; return a warning if it is not that of the trials so far."""
        with self._writing():
            known: list[dict[str, Any]] = self.optuna.user_attrs.get("code", [])
            now = {"digest": code_digest(), "commit": commit(), "from": self.total()}
            if known and known[-1]["digest"] == now["digest"]:
                return None
            self.optuna.set_user_attr("code", [*known, now])
        if not known or not self.begun():
            return None
        old, new = (f"{each['commit'] or 'no commit'}, digest {each['digest']}" for each in (known[-1], now))
        return (
            f"the code has changed since this study was run last ({old}; now {new}): trials that are trained now may "
            "differ from earlier ones for that reason alone. Each carries its code's digest (plml.code in MLflow); "
            "--fork NEW separates them"
        )

    # -- coming back --------------------------------------------------------------------------------------

    def reconcile(self) -> int:
        """Put back every trial that a dead driver left RUNNING; return how many. Needs the study's lock."""
        orphans = self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for orphan in orphans:
            epochs = len(orphan.intermediate_values)
            deaths = 1 + (orphan.user_attrs.get("deaths", 0) if orphan.user_attrs.get("epochs") == epochs else 0)
            self._set_attr(orphan, "epochs", epochs)
            self._set_attr(orphan, "deaths", deaths)
            if deaths > DRIVER_DEATHS:
                self._set_attr(orphan, "reason", "failed")
                self._set_attr(orphan, "error", f"the driver died {deaths} times during this trial")
                self.optuna.tell(orphan.number, state=TrialState.FAIL)
                self._see(orphan)
            else:
                self.put_back(orphan)
        return len(orphans)

    def retry_failed(self) -> int:
        """Enqueue every FAILED trial again under its old key; return how many."""
        failed = self.trials(TrialState.FAIL)
        for trial in failed:
            kept: dict[str, Any] = {
                name: trial.user_attrs[name] for name in ("key", "values", "fingerprint") if name in trial.user_attrs
            }
            self._enqueue(trial.params, {**kept, "attempt": 1})
        return len(failed)

    def add_prior(self, prior: FrozenTrial) -> None:
        """Store a trial of another study, which counts for the sampler alone; its user attribute ``prior`` says so."""
        with self._writing():
            self.optuna.add_trial(prior)
            self._see_number(self._index.total)

    def warm_start(self, teacher: StudyFolder) -> tuple[int, int]:
        """Let the sampler know what another study learnt; return how many of its trials fit and how many do not.

        What it learns is kept, so that the study draws the same when it goes on, whatever becomes of the other.

        Raises:
            ConfigError: the other study cannot be read, or optimises in the other direction.
        """
        kept = self.optuna.user_attrs.get("warm_start")
        if kept is None or kept["study"] != str(teacher.path):
            learnt, refused = lessons(self.study, teacher)
            kept = {"study": str(teacher.path), "lessons": learnt, "refused": refused}
            with self._writing():
                self.optuna.set_user_attr("warm_start", kept)
        self._prior = prior_trials(self.study, kept["lessons"])
        return len(self._prior), kept["refused"]

    # -- notes on trials that have ended ------------------------------------------------------------------

    def note(self, key: str, **values: Any) -> None:
        """Keep something about a trial beside it, because Optuna seals the trial itself when it ends."""
        with self._writing():
            kept = {**self._notes.get(key, {}), **values}
            self.optuna.set_user_attr(f"note {key}", kept)
            self._notes[key] = kept

    def noted(self, key: str) -> dict[str, Any]:
        """Return what was kept about a trial."""
        return dict(self._notes.get(key, {}))

    def flush(self) -> None:
        """Wait until the disk has everything; a database has it anyway."""
        if isinstance(self._journal, DriverJournal):
            self._journal.flush()

    def _set_attr(self, trial: Trial | FrozenTrial, name: str, value: Any) -> None:
        self.optuna._storage.set_trial_user_attr(trial._trial_id, name, value)

    def frozen(self, trial: Trial | FrozenTrial) -> FrozenTrial:
        """Return what the storage holds of a trial."""
        return self.optuna._storage.get_trial(trial._trial_id)
