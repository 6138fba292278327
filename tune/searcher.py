"""The bridge from Ray to the ledger: Ray asks for trials and passes on what they report; the ledger decides."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from plml.config import TrainConfig
from plml.errors import ConfigError
from plml.population import is_stackable
from plml.tracking import TrackingError
from tune.crew import Orders
from tune.ledger import Asked, Ledger
from tune.orders import Book
from tune.stopping import Stopper
from tune.trainable import Task, TrialReport
from tune.trial_runs import TrialRuns
from tune.trial_source import FINISHED, MACHINES, StudyObserver, TrialSource, died, error_note, read_report


@dataclass
class Live:
    """A trial that a worker trains now; ``in_crew`` with others."""

    trial: Trial
    key: str
    attempt: int
    in_crew: bool = False
    epoch: int = -1
    objective: float | None = None


class LedgerSearcher(TrialSource):
    """Asks the ledger for trials and tells it how they end.

    A Ray trial is one trial of the study, or a crew: trials of mode ``linear`` that one worker trains at once, and
    that others follow as they end.

    Args:
        ledger: the study's trials.
        runs: their MLflow runs.
        observer: is told of everything.
        gpu: GPUs a trial gets, for the share of memory it may take.
        stopper: whether the study is to stop; is told of trouble with storage.
        crew: most trials of a crew; 1: every trial has a worker to itself.
        orders: where crews find their answers.
        shares: parts into which what is left of the budget is cut, so that towards its end no crew takes what other
            workers could train; default: two.
    """

    def __init__(
        self,
        ledger: Ledger,
        runs: TrialRuns,
        observer: StudyObserver,
        *,
        gpu: float,
        stopper: Stopper,
        crew: int = 1,
        orders: Book | None = None,
        shares: int = 2,
    ) -> None:
        super().__init__()
        self.ledger, self.runs, self.observer = ledger, runs, observer
        self.gpu, self.stopper = gpu, stopper
        self.crew, self.orders, self.shares = crew if orders else 1, orders, shares
        self.live: dict[str, dict[str, Live]] = {}  # by Ray trial, by key
        self.waiting: list[tuple[Asked, TrainConfig]] = []  # asked for, and not fit for the crew they were asked for
        self.answers: Counter[str] = Counter()
        self.failures_in_a_row = 0
        self.losses: dict[str, str] = {}  # why workers are gone, by Ray trial
        self.without_machine: set[str] = set()  # Ray trials whose machine is gone
        self.spared: Counter[str] = Counter()  # attempts that were not counted for that, by key

    @property
    def gave_up(self) -> bool:
        """Whether so many trials failed one after another, and none is doing well, that going on makes no sense."""
        doing_well = any(live.objective is not None for members in self.live.values() for live in members.values())
        return self.failures_in_a_row >= self.ledger.study.config.failure_budget and not doing_well

    # -- Ray asks -----------------------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's task, or a crew's; None: not now; FINISHED: never again."""
        first = self._take(1)
        if not first:
            # A live trial may yet come back for another attempt, so it is too early to say never.
            return None if any(self.live.values()) else FINISHED
        [(asked, config)] = first
        if self.crew == 1 or not is_stackable(config):
            return {"task": asdict(self._begin(trial_id, asked, config, in_crew=False))}
        crew = [*first, *self._take(self._crew_size() - 1, stackable=True)]
        assert self.orders is not None  # otherwise there are no crews
        return {
            "crew": [asdict(self._begin(trial_id, *each, in_crew=True)) for each in crew],
            "name": trial_id,
            "orders": self.orders.address,
        }

    def _crew_size(self) -> int:
        """Members of a crew now: towards the end of the budget no crew takes what others could train."""
        alone = sum(not live.in_crew for members in self.live.values() for live in members.values())
        to_share = self.ledger.n_trials - self.ledger.ended() - alone  # those that were interrupted are among them
        return max(1, min(self.crew, math.ceil(to_share / self.shares)))

    def _take(self, wanted: int, *, stackable: bool = False) -> list[tuple[Asked, TrainConfig]]:
        """Return up to ``wanted`` trials to begin now; with ``stackable`` such as can be in a crew."""
        if self.stopper.asked():
            return []
        fit = [each for each in self.waiting if not stackable or is_stackable(each[1])][:wanted]
        self.waiting = [each for each in self.waiting if each not in fit]
        # What is put aside was drawn without knowing what the crew will find: no more than a crew's worth.
        while len(fit) < wanted and len(self.waiting) < self.crew and not self.stopper.asked() and not self.gave_up:
            try:
                asked = self.ledger.ask_many(min(wanted - len(fit), self.crew - len(self.waiting)))
            except ConfigError as error:
                self._invalid(error)
                continue
            if not asked:
                break
            for each in asked:
                config = self.ledger.study.space.resolve(each.values)
                place = fit if not stackable or is_stackable(config) else self.waiting
                place.append((each, config))
        return fit

    def _begin(self, trial_id: str, asked: Asked, config: TrainConfig, *, in_crew: bool) -> Task:
        frozen, run_id = self.ledger.frozen(asked.trial), None
        if in_crew:
            self.runs.begin_soon(frozen, config)
        else:
            run_id = self.runs.begin(frozen, config)
        self.live.setdefault(trial_id, {})[asked.key] = Live(asked.trial, asked.key, asked.attempt, in_crew)
        self.observer.began(asked.key, dict(asked.values), asked.attempt)
        study = self.ledger.study.config
        return Task(
            tree=config.tree(),
            folder=str(self.ledger.folder.trial(asked.key)),
            metric=study.objective.metric,
            mode=study.objective.mode,
            seeds=tuple(study.seeds or ()),
            tracking_uri=self.runs.worker_uri if run_id else None,
            run_id=run_id,
            gpus=self.gpu,
            system_metrics=study.track.system_metrics,
            keep_epochs=study.track.checkpoints == "every_epoch",
            key=asked.key,
        )

    def _invalid(self, error: ConfigError) -> None:
        """The sampler drew a combination that cannot be trained; the ledger has closed it already."""
        trial = self.ledger.trials()[-1]
        self.failures_in_a_row += 1
        self.runs.end(trial)
        self.observer.ended(trial.user_attrs["key"], "PRUNED", None, f"invalid: {error}")

    # -- Ray tells ----------------------------------------------------------------------------------------

    def on_report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Store what a worker reports and close trials that have ended; return whether the worker is to stop."""
        place = {"plml.node": str(result.get("node_ip", "")), "plml.devices": str(result.get("devices", ""))}
        self.runs.places |= dict.fromkeys(self.live.get(trial_id, {}), place)
        if "told" not in result:
            told = read_report(result)
            keys = list(self.live.get(trial_id, {}))
            return bool(keys) and bool(self._listen(trial_id, [replace(told, key=keys[0])]))
        stop = self._listen(trial_id, [read_report(each) for each in result["told"]])
        here = len(self.live.get(trial_id, {}))
        start = self._take(self._crew_size() - here, stackable=True) if here < self._crew_size() else []
        tasks = [self._begin(trial_id, *each, in_crew=True) for each in start]
        assert self.orders is not None
        self.orders.write(trial_id, self.answers[trial_id], Orders(stop, tasks))
        self.answers[trial_id] += 1
        return False

    def _listen(self, trial_id: str, told: Sequence[TrialReport]) -> list[str]:
        """Store reports, close trials that have ended; return the keys of those that are to stop."""
        members = self.live.get(trial_id, {})
        known = [(members[one.key], one) for one in told if one.key in members]
        good = [(live, one) for live, one in known if one.objective is not None]
        self.ledger.report_many(
            [(live.trial, [*((e, v) for e, v in one.earlier), (one.epoch, one.objective)]) for live, one in good]  # type: ignore[list-item]
        )
        for live, one in good:
            live.epoch, live.objective = one.epoch, one.objective
            self.observer.reported(live.key, one.epoch, one.objective or 0.0)
        stop = []
        for live, one in known:
            match one.outcome:
                case "diverged" | "out_of_memory":
                    self.ledger.tell_violation(live.trial, one.outcome, one.detail)
                    detail = f"{one.outcome.replace('_', ' ')}: {one.detail}"
                    self._ended(trial_id, live, "PRUNED", detail, failed=True)
                case "rejected":
                    self.ledger.tell_failed(live.trial, one.detail)
                    self._ended(trial_id, live, "FAILED", one.detail, failed=True)
                case "broken":
                    self._try_again(trial_id, live, one.detail)
                case "storage":
                    self.stopper.ask("trouble", one.detail)
                    self._wait(trial_id, live)
                case "complete":
                    assert one.objective is not None
                    self.ledger.tell_complete(live.trial, one.objective)
                    self._ended(trial_id, live, "COMPLETE", "")
                case "running":
                    if live.trial.should_prune():
                        # Told at once: a pruner remembers that it was asked, so a decision that is lost is not made
                        # again.
                        self.ledger.tell_pruned(live.trial)
                        self._ended(trial_id, live, "PRUNED", f"after {one.epoch + 1} epochs")
                        stop.append(live.key)
                    elif self.stopper.asked():
                        self._wait(trial_id, live)
                        stop.append(live.key)
        return stop

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker is gone: if a trial of it is still open, it died or raised, and another attempt is due."""
        why = self.losses.pop(trial_id, "")
        for live in list(self.live.get(trial_id, {}).values()):
            if self.stopper.asked():
                self._wait(trial_id, live)
            elif trial_id in self.without_machine and self.spared[live.key] < MACHINES:
                self.spared[live.key] += 1
                self.ledger.put_back(live.trial, error=why)
                self._ended(trial_id, live, "INTERRUPTED", f"{why}; it goes on elsewhere")
            else:
                self._try_again(trial_id, live, self._note_of(live) or died(why, live.epoch))
        self.live.pop(trial_id, None)

    def _note_of(self, live: Live) -> str | None:
        """What a worker wrote before it raised."""
        folder = self.ledger.folder.trial(live.key)
        if self.runs.fetcher is not None:
            with suppress(TrackingError):
                self.runs.fetcher.fetch(folder, ended=False)
        return error_note(folder)

    def folders(self, trial_id: str) -> Iterable[Path]:
        """Return the run folders of the trials that a worker trains."""
        return [self.ledger.folder.trial(key) for key in self.live.get(trial_id, {})]

    def on_loss(self, trial_id: str, why: str, *, spared: bool = False) -> None:
        """Keep why a worker is about to be gone."""
        self.losses.setdefault(trial_id, why)
        if spared:
            self.without_machine.add(trial_id)

    def on_room(self, concurrent: int) -> None:
        """Share what is left of the budget among so many workers."""
        self.shares = 2 * concurrent

    def close_live(self) -> None:
        """Put back every trial that was being trained, or waited to be, when the study stopped."""
        for trial_id, members in list(self.live.items()):
            for live in list(members.values()):
                self._wait(trial_id, live)
        for asked, _ in self.waiting:
            self.ledger.put_back(asked.trial)
        self.waiting = []

    @property
    def is_training(self) -> bool:
        """Whether a trial was begun and has not ended."""
        return any(self.live.values())

    def _wait(self, trial_id: str, live: Live) -> None:
        """The trial goes on at the next launch, as the same attempt."""
        self.ledger.put_back(live.trial)
        self._ended(trial_id, live, "INTERRUPTED", "")

    def _try_again(self, trial_id: str, live: Live, detail: str) -> None:
        if live.attempt >= self.ledger.study.config.max_attempts:
            self.ledger.tell_failed(live.trial, detail)
            self._ended(trial_id, live, "FAILED", f"{detail} ({live.attempt} attempts)", failed=True)
            return
        self.ledger.put_back(live.trial, attempt=live.attempt + 1, error=detail)
        self._ended(trial_id, live, "INTERRUPTED", f"{detail}; it will be tried again")

    def _ended(self, trial_id: str, live: Live, state: str, detail: str, *, failed: bool = False) -> None:
        del self.live[trial_id][live.key]
        if state != "INTERRUPTED":
            self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
        frozen = self.ledger.frozen(live.trial)
        if live.in_crew:
            self.runs.end_soon(frozen)
        else:
            self.runs.end(frozen)
        self.observer.ended(live.key, state, live.objective, detail)
