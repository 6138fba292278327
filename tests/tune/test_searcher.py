"""What the driver makes of a worker's reports, worker deaths and prunings; no Ray is started."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from plml.config import make_config
from plml.population import is_stackable
from tune.crew import Orders
from tune.crew_size import crew_limit
from tune.execution import make_plan
from tune.folders import StudyFolder, StudyHeldError
from tune.ledger import Ledger
from tune.orders import OrderBook
from tune.records import state_of
from tune.scheduler import PrunerScheduler
from tune.searcher import LedgerSearcher
from tune.stopping import Stopper
from tune.study import load_study
from tune.study_file import ResourcesConfig
from tune.trainable import Task, TrialReport
from tune.trial_runs import TrialRuns
from tune.trial_source import FINISHED

STUDY: dict[str, Any] = {
    "base": {"epochs": 8, "data": {"name": "digits", "observation": "single_positive"}, "method": "an"},
    "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "n_trials": 4,
}


class Notebook:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None:
        self.lines.append(("began", key, attempt))

    def reported(self, key: str, epoch: int, objective: float) -> None:
        self.lines.append(("reported", key, epoch, objective))

    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
        self.lines.append(("ended", key, state, detail))


class Driver:
    """A driver of a study: the real ledger and searcher, and Ray's part played by the test."""

    def __init__(self, folder: Path, n_trials: int = 4, **changes: Any) -> None:
        file = folder / "mine.yaml"
        file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
        study = load_study(file)
        where = StudyFolder(folder / study.name)
        where.path.mkdir(exist_ok=True)
        self.ledger = Ledger(study, where, str(where.journal), n_trials)
        self.reconciled = self.ledger.reconcile()
        self.stopper = Stopper()
        self.notes = Notebook()
        runs = TrialRuns(None, self.ledger, warn=pytest.fail)
        self.searcher = LedgerSearcher(self.ledger, runs, self.notes, gpu=0.0, stopper=self.stopper)
        self.scheduler = PrunerScheduler(self.searcher, self.stopper)
        self.asked = 0

    def suggest(self) -> tuple[str, Task]:
        self.asked += 1
        slot = f"slot{self.asked}"
        suggested = self.searcher.suggest(slot)
        assert isinstance(suggested, dict)
        return slot, Task(**suggested["task"])

    def report(self, slot: str, **told: Any) -> bool:
        """Pass a report as Tune does; return whether the scheduler stops the trial."""
        trial = type("RayTrial", (), {"trial_id": slot})()
        result = {**asdict(TrialReport(**told)), "training_iteration": 1, "trial_id": slot}
        stopped: bool = self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP  # type: ignore[arg-type]
        if not stopped:
            self.searcher.on_trial_result(slot, result)
        return stopped

    def train(self, slot: str, curve: list[float], start: int = 0) -> bool:
        """Report a curve of running bests from epoch ``start`` on; return whether it was stopped."""
        for epoch, value in enumerate(curve[start:], start=start):
            outcome = "complete" if epoch == len(curve) - 1 else "running"
            if self.report(slot, outcome=outcome, epoch=epoch, objective=value):
                self.searcher.on_trial_complete(slot, {})
                return True
        self.searcher.on_trial_complete(slot, {})
        return False

    @property
    def states(self) -> dict[str, str]:
        return {trial.user_attrs["key"]: state_of(trial) for trial in self.ledger.trials()}


def test_a_full_trial_is_complete_with_its_running_best(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, task = driver.suggest()
    assert task.folder == str(tmp_path / "mine" / "trials" / "0000")
    assert not driver.train(slot, [10.0, 30.0, 30.0])
    [trial] = driver.ledger.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 30.0)
    assert trial.intermediate_values == {1: 10.0, 2: 30.0, 3: 30.0}
    assert driver.notes.lines[-1] == ("ended", "0000", "COMPLETE", "")


@pytest.mark.parametrize("outcome", ["diverged", "out_of_memory"])
def test_a_configuration_that_breaks_down_is_a_violation(tmp_path: Path, outcome: str) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="running", epoch=0, objective=10.0)
    driver.report(slot, outcome=outcome, detail="loss is nan")
    driver.searcher.on_trial_complete(slot, {})
    [trial] = driver.ledger.trials()
    assert trial.state == TrialState.PRUNED
    assert trial.system_attrs[f"constraints:{outcome}"] == 1.0
    assert trial.user_attrs["error"] == "loss is nan"


def test_wrong_input_fails_at_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="rejected", detail="DataError: no such photo")
    assert driver.states == {"0000": "FAILED"}


def test_a_worker_that_dies_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    driver = Driver(tmp_path, max_attempts=3)
    for attempt in (1, 2, 3):
        slot, task = driver.suggest()
        assert ("began", "0000", attempt) in driver.notes.lines
        assert task.folder.endswith("trials/0000")
        driver.searcher.on_trial_complete(slot, None, error=True)
        assert driver.states == {"0000": "INTERRUPTED" if attempt < 3 else "FAILED"}
    assert "its process died" in driver.ledger.trials()[0].user_attrs["error"]
    assert driver.suggest()[1].folder.endswith("trials/0001")


def test_what_a_worker_wrote_before_it_raised_is_the_reason(tmp_path: Path) -> None:
    driver = Driver(tmp_path, max_attempts=1)
    slot, task = driver.suggest()
    Path(task.folder).mkdir(parents=True)
    (Path(task.folder) / "error.json").write_text('{"error": "OSError: disk full"}')
    driver.searcher.on_trial_complete(slot, None, error=True)
    assert driver.ledger.trials()[0].user_attrs["error"] == "OSError: disk full"


def test_a_function_that_returns_in_silence_is_tried_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.searcher.on_trial_complete(slot, None, error=False)
    assert driver.states == {"0000": "INTERRUPTED"}


def test_never_again_is_not_said_while_a_trial_may_come_back(tmp_path: Path) -> None:
    driver = Driver(tmp_path, n_trials=1)
    slot, _ = driver.suggest()
    assert driver.searcher.suggest("other") is None
    driver.searcher.on_trial_complete(slot, None, error=True)
    slot, _ = driver.suggest()
    driver.train(slot, [1.0])
    assert driver.searcher.suggest("other") == FINISHED


def test_a_study_whose_trials_all_fail_ends(tmp_path: Path) -> None:
    driver = Driver(tmp_path, n_trials=50, failure_budget=3)
    for _ in range(3):
        slot, _ = driver.suggest()
        driver.report(slot, outcome="rejected", detail="no")
    assert driver.searcher.gave_up
    assert driver.searcher.suggest("other") == FINISHED


def test_a_success_restores_the_failure_budget(tmp_path: Path) -> None:
    driver = Driver(tmp_path, n_trials=50, failure_budget=2)
    for outcome in ("diverged", "complete", "diverged"):
        slot, _ = driver.suggest()
        driver.report(slot, outcome=outcome, epoch=0, objective=1.0)
    assert not driver.searcher.gave_up


def test_a_trial_that_reports_after_the_end_was_asked_for_stops_and_waits(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    first, second = driver.suggest()[0], driver.suggest()[0]
    driver.stopper.ask("signal")
    assert driver.report(first, outcome="running", epoch=0, objective=5.0)
    assert not driver.report(second, outcome="complete", epoch=2, objective=7.0)
    assert driver.states == {"0000": "INTERRUPTED", "0001": "COMPLETE"}
    assert driver.searcher.suggest("other") == FINISHED  # so that Tune ends by itself
    assert driver.ledger.trials()[0].user_attrs["attempt"] == 1


def test_trouble_with_storage_costs_no_attempt_and_stops_the_launch(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="storage", detail="results: No space left on device (ENOSPC)")
    assert driver.states == {"0000": "INTERRUPTED"}
    assert (driver.stopper.reason, driver.stopper.trouble) == ("trouble", "results: No space left on device (ENOSPC)")
    assert driver.ledger.trials()[0].user_attrs["attempt"] == 1
    assert driver.searcher.suggest("other") == FINISHED


def test_a_driver_that_lost_the_study_writes_nothing_more(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.ledger.disown("study 'mine' is being run by process 7 on elsewhere")
    before = driver.ledger.folder.journal.read_bytes()
    for write in (
        lambda: driver.report(slot, outcome="running", epoch=0, objective=5.0),
        lambda: driver.report(slot, outcome="complete", epoch=2, objective=5.0),
        driver.searcher.close_live,
        lambda: driver.searcher.suggest("other"),
        lambda: driver.ledger.note("0000", delivered=True),
    ):
        with pytest.raises(StudyHeldError, match="process 7 on elsewhere"):
            write()
    assert driver.ledger.folder.journal.read_bytes() == before


def test_why_a_worker_is_gone_is_told(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="running", epoch=0, objective=5.0)
    assert list(driver.searcher.folders(slot)) == [driver.ledger.folder.trial("0000")]
    driver.searcher.on_loss(slot, "the machine ran out of memory")
    driver.searcher.on_loss(slot, "whatever Ray says of it later")
    driver.searcher.on_trial_complete(slot, error=True)
    trial = driver.ledger.trials()[0]
    assert trial.user_attrs["last_error"] == "its process died after epoch 0 (the machine ran out of memory)"
    assert trial.user_attrs["attempt"] == 2


def test_stopping_puts_live_trials_back(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="running", epoch=0, objective=5.0)
    driver.stopper.ask("signal")
    assert driver.searcher.suggest("other") is None
    driver.searcher.on_trial_complete(slot, {}, error=False)  # Tune clears up: not a death
    driver.searcher.close_live()
    assert driver.states == {"0000": "INTERRUPTED"}
    again = Driver(tmp_path)
    slot, task = again.suggest()
    assert task.folder.endswith("trials/0000")
    again.train(slot, [5.0, 6.0], start=1)
    assert again.ledger.trials()[0].intermediate_values == {1: 5.0, 2: 6.0}


def test_epochs_the_driver_never_heard_of_are_filled_in(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    slot, _ = driver.suggest()
    driver.report(slot, outcome="running", epoch=0, objective=5.0)
    driver = Driver(tmp_path)  # the worker had written epochs 1 and 2 when the driver was killed
    slot, _ = driver.suggest()
    driver.report(slot, outcome="running", epoch=3, objective=8.0, earlier=[(0, 5.0), (1, 6.0), (2, 7.0)])
    assert driver.ledger.trials()[0].intermediate_values == {1: 5.0, 2: 6.0, 3: 7.0, 4: 8.0}


def test_reports_of_unknown_trials_are_ignored(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    assert not driver.report("never", outcome="running", epoch=0, objective=1.0)
    driver.searcher.on_trial_complete("never", None, error=True)


# -- pruning on hand-made curves --------------------------------------------------------------------------

CURVES = [
    [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0],
    [5.0, 6.0, 7.0, 8.0, 9.0, 9.0, 9.0, 9.0],  # behind from the start
    [11.0, 21.0, 31.0, 32.0, 33.0, 33.0, 33.0, 33.0],  # ahead at first, then stuck
    [12.0, 22.0, 33.0, 45.0, 55.0, 66.0, 77.0, 88.0],
]
PRUNERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "none": ({"name": "none"}, {"0000": "COMPLETE", "0001": "COMPLETE", "0002": "COMPLETE", "0003": "COMPLETE"}),
    "successive_halving": (
        {"name": "successive_halving", "min_epochs": 2, "reduction_factor": 2},
        {"0000": "COMPLETE", "0001": "PRUNED", "0002": "PRUNED", "0003": "COMPLETE"},
    ),
    "median": (
        {"name": "median", "min_epochs": 4, "n_startup_trials": 1},
        {"0000": "COMPLETE", "0001": "PRUNED", "0002": "PRUNED", "0003": "COMPLETE"},
    ),
    "patient": (
        {"name": "patient", "patience": 2},
        {"0000": "COMPLETE", "0001": "PRUNED", "0002": "PRUNED", "0003": "COMPLETE"},
    ),
    "patient_median": (  # waits for the plateau before the median decides
        {"name": "median", "min_epochs": 1, "n_startup_trials": 1, "patience": 2},
        {"0000": "COMPLETE", "0001": "PRUNED", "0002": "PRUNED", "0003": "COMPLETE"},
    ),
}


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("restart_at", [None, 1, 3, 5])
def test_the_same_trials_are_pruned_whether_or_not_the_driver_restarts(
    tmp_path: Path, name: str, restart_at: int | None
) -> None:
    pruner, expected = PRUNERS[name]
    driver = Driver(tmp_path, pruner=pruner)
    lengths = {}
    for number, curve in enumerate(CURVES):
        slot, _ = driver.suggest()
        for epoch, value in enumerate(curve):
            if epoch == restart_at:
                driver = Driver(tmp_path, pruner=pruner)  # the old driver was killed
                assert driver.reconciled == 1
                slot, _ = driver.suggest()
            outcome = "complete" if epoch == len(curve) - 1 else "running"
            if driver.report(slot, outcome=outcome, epoch=epoch, objective=value):
                break
        lengths[number] = epoch + 1
    assert driver.states == expected
    if name == "patient":
        assert lengths == {0: 8, 1: 7, 2: 7, 3: 8}


def test_hyperband_runs_and_stops_what_lags(tmp_path: Path) -> None:
    pruner = {"name": "hyperband", "min_epochs": 1, "reduction_factor": 2}
    driver = Driver(tmp_path, n_trials=12, pruner=pruner)
    for number in range(12):
        slot, _ = driver.suggest()
        driver.train(slot, [float((12 - number) * (epoch + 1)) for epoch in range(8)])
    states = set(driver.states.values())
    assert states == {"COMPLETE", "PRUNED"}
    assert driver.states["0000"] == "COMPLETE"


def test_the_last_epoch_is_never_pruned(tmp_path: Path) -> None:
    driver = Driver(tmp_path, pruner={"name": "median", "n_startup_trials": 1})
    slot, _ = driver.suggest()
    driver.train(slot, [50.0])
    slot, _ = driver.suggest()
    assert not driver.train(slot, [1.0])
    assert driver.states == {"0000": "COMPLETE", "0001": "COMPLETE"}


# -- crews ------------------------------------------------------------------------------------------------

LINEAR: dict[str, Any] = {
    "base": {**STUDY["base"], "mode": "linear"},
    "sampler": {"name": "random", "seed": 1},
    "resources": {"population": 4},
}
MIXED: dict[str, Any] = {
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["wan", "imcl"]},
        "optim.lr": STUDY["search_space"]["optim.lr"],
    },
    "base": {key: value for key, value in LINEAR["base"].items() if key != "method"},
}


def points(*methods: str) -> list[dict[str, Any]]:
    return [{"method.name": name, "optim.lr": 1e-4 * (1 + place)} for place, name in enumerate(methods)]


class CrewDriver(Driver):
    """A driver of a study whose trials are trained in crews."""

    def __init__(self, folder: Path, n_trials: int = 16, *, concurrent: int = 1, **changes: Any) -> None:
        super().__init__(folder, n_trials, **{**LINEAR, **changes})
        self.book = OrderBook(folder / "orders")
        self.searcher = LedgerSearcher(
            self.ledger,
            self.searcher.runs,
            self.notes,
            gpu=0.0,
            stopper=self.stopper,
            crew=crew_limit(self.ledger.study.config, n_trials, concurrent=concurrent, gpu=0.0),
            orders=self.book,
            shares=2 * concurrent,
        )
        self.scheduler = PrunerScheduler(self.searcher, self.stopper)
        self.numbers: dict[str, int] = {}

    def suggest_crew(self) -> tuple[str, list[str]]:
        """Return a Ray trial and the keys of its crew."""
        self.asked += 1
        slot = f"slot{self.asked}"
        suggested = self.searcher.suggest(slot)
        assert isinstance(suggested, dict)
        assert suggested["name"] == slot
        assert suggested["orders"] == str(self.book.folder)
        return slot, [task["key"] for task in suggested["crew"]]

    def tell(self, slot: str, *told: TrialReport) -> Orders:
        """Pass a crew's report as Tune does; return the driver's answer."""
        trial = type("RayTrial", (), {"trial_id": slot})()
        result = {"told": [asdict(one) for one in told], "training_iteration": 1, "trial_id": slot}
        assert self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE  # type: ignore[arg-type]
        self.searcher.on_trial_result(slot, result)
        number = self.numbers.get(slot, 0)
        self.numbers[slot] = number + 1
        return self.book.take(slot, number)


def running(key: str, epoch: int, objective: float, **rest: Any) -> TrialReport:
    return TrialReport("running", epoch, objective, key=key, **rest)


def complete(key: str, objective: float = 50.0) -> TrialReport:
    return TrialReport("complete", 7, objective, earlier=[(epoch, objective) for epoch in range(7)], key=key)


@pytest.mark.parametrize(
    ("sampler", "population", "n_trials", "concurrent", "gpu", "expected"),
    [
        ("random", "auto", 1000, 2, 0.0, 32),
        ("grid", "auto", 1000, 2, 0.0, 32),
        ("random", "auto", 1000, 1, 1.0, 256),
        ("tpe", "auto", 1000, 2, 0.0, 32),
        ("tpe", "auto", 100, 2, 0.0, 6),  # eight rounds of draws that know what came before
        ("tpe", "auto", 10_000, 1, 0.5, 256),
        ("tpe", "auto", 10, 2, 0.0, 4),  # eight in all: fewer than are drawn at random anyway
        ("tpe", 12, 10, 2, 0.0, 12),
        ("random", 1, 1000, 2, 1.0, 1),
    ],
)
def test_how_many_trials_a_worker_takes(
    tmp_path: Path, sampler: str, population: Any, n_trials: int, concurrent: int, gpu: float, expected: int
) -> None:
    file = tmp_path / "mine.yaml"
    space = {"optim.lr": {"type": "categorical", "choices": [1e-3, 1e-2]}}
    changes = {"sampler": {"name": sampler}, "resources": {"population": population}, "search_space": space}
    file.write_text(yaml.safe_dump({**STUDY, **changes}))
    assert crew_limit(load_study(file).config, n_trials, concurrent=concurrent, gpu=gpu) == expected


def test_a_linear_study_is_trained_in_crews(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path)
    slot, keys = driver.suggest_crew()
    assert keys == ["0000", "0001", "0002", "0003"]
    assert [line for line in driver.notes.lines if line[0] == "began"] == [("began", key, 1) for key in keys]
    assert set(driver.states.values()) == {"RUNNING"}
    orders = driver.tell(slot, *(running(key, 0, 10.0) for key in keys))
    assert (list(orders.stop), list(orders.start)) == ([], [])


def test_a_study_of_networks_has_a_worker_for_each_trial(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, base={**STUDY["base"], "mode": "end_to_end"})
    assert driver.suggest()[1].key == "0000"
    assert len(driver.searcher.live) == 1


def test_one_at_a_time_may_be_asked_for(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, resources={"population": 1})
    assert driver.suggest()[1].key == "0000"


@pytest.mark.parametrize("concurrent", [1, 2])
def test_towards_the_end_no_crew_takes_what_others_could_train(tmp_path: Path, concurrent: int) -> None:
    driver = CrewDriver(tmp_path, 12, concurrent=concurrent, resources={"population": 32})
    crews = dict(driver.suggest_crew() for _ in range(concurrent))
    share = 12 // (2 * concurrent)
    assert [len(keys) for keys in crews.values()] == [share] * concurrent
    for _ in range(40):  # one after another ends, and the next one takes its place
        for slot, keys in crews.items():
            if keys:
                orders = driver.tell(slot, complete(keys.pop(0)))
                keys += [task.key for task in orders.start]
                left = 12 - driver.ledger.ended()
                assert len(keys) <= max(share, 1)
                if orders.start:
                    assert len(keys) <= -(-left // (2 * concurrent))
        if not any(crews.values()):
            break
    for slot in crews:
        driver.searcher.on_trial_complete(slot, {})
    while driver.ledger.ended() != 12:
        slot, keys = driver.suggest_crew()
        driver.tell(slot, *(complete(key) for key in keys))
        driver.searcher.on_trial_complete(slot, {})
    assert driver.searcher.suggest("other") == FINISHED
    assert list(driver.states.values()) == ["COMPLETE"] * 12


def test_reports_of_many_members_are_stored_at_once(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path)
    slot, keys = driver.suggest_crew()
    driver.tell(slot, *(running(key, 1, 10.0 + n, earlier=[(0, 5.0 + n)]) for n, key in enumerate(keys)))
    driver.tell(slot, *(running(key, 2, 20.0 + n) for n, key in enumerate(keys[:2])))
    values = [trial.intermediate_values for trial in driver.ledger.trials()]
    assert values[:2] == [{1: 5.0, 2: 10.0, 3: 20.0}, {1: 6.0, 2: 11.0, 3: 21.0}]
    assert values[2:] == [{1: 7.0, 2: 12.0}, {1: 8.0, 2: 13.0}]
    assert ("reported", "0001", 2, 21.0) in driver.notes.lines


def test_the_pruner_stops_members_and_others_take_their_places(tmp_path: Path) -> None:
    pruner = {"name": "median", "min_epochs": 1, "n_startup_trials": 1}
    driver = CrewDriver(tmp_path, pruner=pruner)
    slot, keys = driver.suggest_crew()
    first = driver.tell(slot, complete(keys[0], 50.0), running(keys[1], 0, 80.0))
    assert list(first.stop) == []
    assert [task.key for task in first.start] == ["0004"]
    driver.tell(slot, running("0004", 0, 70.0))
    orders = driver.tell(slot, running(keys[2], 0, 1.0), running(keys[3], 0, 85.0))
    assert list(orders.stop) == [keys[2]]
    assert [task.key for task in orders.start] == ["0005"]
    assert driver.states[keys[2]] == "PRUNED"
    assert driver.states["0005"] == "RUNNING"
    late = driver.tell(slot, running(keys[2], 1, 99.0))  # it crossed the order to stop: not its business any more
    assert (list(late.stop), list(late.start)) == ([], [])
    assert driver.states[keys[2]] == "PRUNED"


def test_members_in_trouble_end_alone(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path)
    slot, keys = driver.suggest_crew()
    orders = driver.tell(
        slot,
        TrialReport("diverged", detail="loss is nan", key=keys[0]),
        TrialReport("rejected", detail="DataError: no such photo", key=keys[1]),
        TrialReport("broken", detail="OSError: disk full", key=keys[2]),
        running(keys[3], 0, 10.0),
    )
    assert [driver.states[key] for key in keys] == ["PRUNED", "FAILED", "RUNNING", "RUNNING"]
    assert [task.key for task in orders.start] == [keys[2], "0004", "0005"]  # the broken one is tried again
    assert ("began", keys[2], 2) in driver.notes.lines


def test_a_worker_that_dies_leaves_all_its_trials_to_be_tried_again(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, max_attempts=2)
    for attempt in (1, 2):
        slot, keys = driver.suggest_crew()
        assert keys == ["0000", "0001", "0002", "0003"]
        assert {("began", key, attempt) for key in keys} <= set(driver.notes.lines)
        driver.tell(slot, *(running(key, attempt, 10.0) for key in keys))
        driver.searcher.on_trial_complete(slot, None, error=True)
        expected = "INTERRUPTED" if attempt == 1 else "FAILED"
        assert [driver.states[key] for key in keys] == [expected] * 4
    assert "its process died after epoch 2" in driver.ledger.trials()[0].user_attrs["error"]


def test_methods_that_train_alone_wait_for_a_worker_of_their_own(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, **MIXED, points=points("wan", "imcl", "wan", "wan", "imcl", "wan"))
    slot, keys = driver.suggest_crew()
    assert keys == ["0000", "0002", "0003", "0005"]
    assert [asked.key for asked, _ in driver.searcher.waiting] == ["0001", "0004"]
    alone = [driver.suggest() for _ in range(2)]
    assert [task.key for _, task in alone] == ["0001", "0004"]
    assert not driver.searcher.waiting
    assert not any(is_stackable(make_config(task.tree)) for _, task in alone)
    assert not driver.train(alone[0][0], [10.0, 20.0])
    assert driver.states["0001"] == "COMPLETE"
    orders = driver.tell(slot, complete("0002"))
    assert all(is_stackable(make_config(task.tree)) for task in orders.start)


def test_no_more_are_put_aside_than_a_crew_has(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, 40, **MIXED, points=points("wan", *["imcl"] * 20, "wan", "wan"))
    slot, keys = driver.suggest_crew()
    assert keys == ["0000"]
    assert len(driver.searcher.waiting) == 4
    driver.tell(slot, running("0000", 0, 5.0))
    assert driver.ledger.begun() == 5


def test_what_waits_comes_first(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, 5, **MIXED, points=points("wan", "imcl", "wan", "wan", "wan"))
    driver.searcher.crew = 3
    slot, keys = driver.suggest_crew()
    for key in keys:
        keys += [task.key for task in driver.tell(slot, complete(key)).start]
    driver.searcher.on_trial_complete(slot, {})
    _, task = driver.suggest()
    assert task.key == "0001"
    assert sorted([*keys, task.key]) == ["0000", "0001", "0002", "0003", "0004"]


def test_stopping_puts_back_the_whole_crew_and_those_that_wait(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, **MIXED, points=points("wan", "imcl", "wan", "wan", "wan", "wan"))
    slot, keys = driver.suggest_crew()
    driver.tell(slot, *(running(key, 0, 5.0) for key in keys))
    driver.stopper.ask("signal")
    orders = driver.tell(slot, complete(keys[0]))
    assert list(orders.start) == []
    assert driver.searcher.suggest("other") is None
    driver.searcher.on_trial_complete(slot, {})  # Tune clears up: not a death
    driver.searcher.close_live()
    assert not driver.searcher.is_training
    assert {key: state for key, state in driver.states.items() if state != "INTERRUPTED"} == {keys[0]: "COMPLETE"}
    assert sorted(driver.states) == ["0000", "0001", "0002", "0003", "0004"]
    again = CrewDriver(tmp_path, **MIXED, points=points("wan", "imcl", "wan", "wan", "wan", "wan"))
    assert again.reconciled == 0
    _, keys = again.suggest()[1].key, again.suggest_crew()[1]
    assert keys == ["0002", "0003", "0004", "0005"]


def test_interrupted_trials_come_back_in_crews(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, 8)
    _, keys = driver.suggest_crew()
    _, more = driver.suggest_crew()
    assert keys + more == [f"{number:04d}" for number in range(8)]
    again = CrewDriver(tmp_path, 8)  # the driver was killed when all of the budget had begun
    assert again.reconciled == 8
    assert again.suggest_crew()[1] == keys


def test_failures_count_while_nobody_is_doing_well(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, 50, failure_budget=3)
    slot, keys = driver.suggest_crew()
    orders = driver.tell(slot, running(keys[0], 0, 5.0))
    for _ in range(3):
        broken = [task.key for task in orders.start] or keys[1:]
        orders = driver.tell(slot, *(TrialReport("diverged", detail="nan", key=key) for key in broken))
        assert not driver.searcher.gave_up
        assert len(orders.start) == 3
    driver.tell(slot, TrialReport("diverged", detail="nan", key=keys[0]))
    assert driver.searcher.gave_up
    assert driver.tell(slot).start == []


def test_a_crew_in_which_all_fail_ends_the_study(tmp_path: Path) -> None:
    driver = CrewDriver(tmp_path, 50, failure_budget=4)
    slot, keys = driver.suggest_crew()
    orders = driver.tell(slot, *(TrialReport("rejected", detail="no", key=key) for key in keys))
    assert driver.searcher.gave_up
    assert list(orders.start) == []
    driver.searcher.on_trial_complete(slot, {})
    assert driver.searcher.suggest("other") == FINISHED


# -- sharing the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "expected"),
    [
        ({"cpu": 1, "gpu": 0}, 8, 0, (1, 0.0, 8)),
        ({"cpu": 3, "gpu": 0}, 8, 2, (3, 0.0, 2)),
        ({"cpu": 1}, 8, 2, (1, 1.0, 2)),
        ({"cpu": 1}, 8, 0, (1, 0.0, 8)),
        ({"cpu": 1, "gpu": 0.5}, 8, 2, (1, 0.5, 4)),
        ({"cpu": 1, "gpu": 0.4}, 8, 2, (1, 0.4, 4)),
        ({"cpu": 3, "gpu": 0.5}, 8, 2, (3, 0.5, 2)),
        ({"cpu": 1, "gpu": 0, "max_concurrent": 2}, 8, 0, (1, 0.0, 2)),
        ({"cpu": 1, "gpu": 0, "max_concurrent": 16}, 8, 0, (1, 0.0, 8)),
    ],
)
def test_how_many_trials_fit(resources: dict[str, Any], cpus: float, gpus: float, expected: tuple[Any, ...]) -> None:
    plan = make_plan(ResourcesConfig(**resources), cpus, gpus)
    assert (plan.cpu, plan.gpu, plan.concurrent) == expected


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": 9}, r"resources.cpu: a trial asks for 9 CPU cores, and there are 8"),
        ({"gpu": 1}, r"resources.gpu: a trial asks for 1 GPU, and there are 0"),
    ],
)
def test_a_trial_that_never_fits_is_an_error(resources: dict[str, Any], message: str) -> None:
    from plml.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        make_plan(ResourcesConfig(**resources), 8, 0)
