"""The bridge from Ray to the ledger: Ray asks for trials and passes on what they report; the ledger decides."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from optuna.trial import Trial
from ray.tune.search import Searcher

from plml.errors import ConfigError
from tune.ledger import Asked, Ledger
from tune.trainable import Task, TrialReport
from tune.trial_runs import TrialRuns


class StudyObserver(Protocol):
    """Who is told of a study's progress (the terminal)."""

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None: ...
    def reported(self, key: str, epoch: int, objective: float) -> None: ...
    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None: ...


@dataclass
class Live:
    """A trial that a worker trains now."""

    trial: Trial
    key: str
    attempt: int
    epoch: int = -1
    objective: float | None = None


FINISHED: Any = Searcher.FINISHED  # a text where Tune's own signature says dictionary


class TrialSource(Searcher):
    """What the scheduler needs of a searcher: somewhere to pass reports, and an answer whether to stop."""

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Take a worker's report; return whether the trial is to be stopped."""
        raise NotImplementedError

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept whatever Tune passes on; the ledger has its own metric and space."""
        del metric, mode, config, spec
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: every launch is a fresh Tuner on the same ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the searcher beside its results; nobody reads that file."""
        return {}


class LedgerSearcher(TrialSource):
    """Asks the ledger for trials and tells it how they end.

    Args:
        ledger: the study's trials.
        runs: their MLflow runs.
        observer: is told of everything.
        gpu: GPUs a trial gets, for the share of memory it may take.
        stopping: whether somebody asked the study to stop.
    """

    def __init__(
        self, ledger: Ledger, runs: TrialRuns, observer: StudyObserver, *, gpu: float, stopping: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.ledger, self.runs, self.observer = ledger, runs, observer
        self.gpu, self.stopping = gpu, stopping
        self.live: dict[str, Live] = {}
        self.failures_in_a_row = 0

    @property
    def gave_up(self) -> bool:
        """Whether so many trials failed one after another that going on makes no sense."""
        return self.failures_in_a_row >= self.ledger.study.config.failure_budget

    # -- Ray asks -----------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's task; None: not now; FINISHED: never again."""
        asked = None
        while asked is None and not self.stopping() and not self.gave_up:
            try:
                asked = self.ledger.ask()
            except ConfigError as error:
                self._invalid(error)
                continue
            if asked is None:
                break
        if asked is None:
            # A live trial may yet come back for another attempt, so it is too early to say never.
            return None if self.live else FINISHED
        return {"task": asdict(self._begin(trial_id, asked))}

    def _begin(self, trial_id: str, asked: Asked) -> Task:
        config = self.ledger.study.space.resolve(asked.values)
        run_id = self.runs.begin(self.ledger.frozen(asked.trial), config)
        self.live[trial_id] = Live(asked.trial, asked.key, asked.attempt)
        self.observer.began(asked.key, dict(asked.values), asked.attempt)
        study = self.ledger.study.config
        return Task(
            tree=config.tree(),
            folder=str(self.ledger.folder.trial(asked.key)),
            metric=study.objective.metric,
            mode=study.objective.mode,
            seeds=tuple(study.seeds or ()),
            tracking_uri=self.runs.uri,
            run_id=run_id,
            gpu_fraction=self.gpu,
            system_metrics=study.track.system_metrics,
        )

    def _invalid(self, error: ConfigError) -> None:
        """The sampler drew a combination that cannot be trained; the ledger has closed it already."""
        trial = self.ledger.trials()[-1]
        self.failures_in_a_row += 1
        self.runs.end(trial)
        self.observer.ended(trial.user_attrs["key"], "PRUNED", None, f"invalid: {error}")

    # -- Ray tells ----------------------------------------------------------------------------------------

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Store a report and close the trial if it is its last; return whether the pruner stops it."""
        live = self.live.get(trial_id)
        if live is None:
            return False
        told = TrialReport(**{name: result[name] for name in TrialReport.__dataclass_fields__})
        match told.outcome:
            case "diverged" | "out_of_memory":
                self.ledger.tell_violation(live.trial, told.outcome, told.detail)
                self._ended(trial_id, "PRUNED", f"{told.outcome.replace('_', ' ')}: {told.detail}", failed=True)
                return False
            case "rejected":
                self.ledger.tell_failed(live.trial, told.detail)
                self._ended(trial_id, "FAILED", told.detail, failed=True)
                return False
        assert told.objective is not None
        self.ledger.report(live.trial, [*((e, v) for e, v in told.earlier), (told.epoch, told.objective)])
        live.epoch, live.objective = told.epoch, told.objective
        self.observer.reported(live.key, told.epoch, told.objective)
        if told.outcome == "complete":
            self.ledger.tell_complete(live.trial, told.objective)
            self._ended(trial_id, "COMPLETE", "")
        elif live.trial.should_prune():
            # Told at once: a pruner remembers that it was asked, so a decision that is lost is not made again.
            self.ledger.tell_pruned(live.trial)
            self._ended(trial_id, "PRUNED", f"after {told.epoch + 1} epochs")
            return True
        return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker is gone: if its trial is still open, the worker died or raised, and another attempt is due."""
        live = self.live.get(trial_id)
        if live is None or self.stopping():
            return
        detail = self._error_of(live)
        if live.attempt >= self.ledger.study.config.max_attempts:
            self.ledger.tell_failed(live.trial, detail)
            self._ended(trial_id, "FAILED", f"{detail} ({live.attempt} attempts)", failed=True)
            return
        self.ledger.put_back(live.trial, attempt=live.attempt + 1, error=detail)
        self._ended(trial_id, "INTERRUPTED", f"{detail}; it will be tried again")

    def close_live(self) -> None:
        """Put back every trial that was being trained when the study stopped."""
        for trial_id, live in list(self.live.items()):
            self.ledger.put_back(live.trial)
            self._ended(trial_id, "INTERRUPTED", "")

    def _ended(self, trial_id: str, state: str, detail: str, *, failed: bool = False) -> None:
        live = self.live.pop(trial_id)
        if state != "INTERRUPTED":
            self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
        self.runs.end(self.ledger.frozen(live.trial))
        self.observer.ended(live.key, state, live.objective, detail)

    def _error_of(self, live: Live) -> str:
        """What the worker wrote before it raised; a process that was killed writes nothing."""
        file = self.ledger.folder.trial(live.key) / "error.json"
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, KeyError):
            return f"its process died after epoch {live.epoch}" if live.epoch >= 0 else "its process died"
