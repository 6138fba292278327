"""What the driver makes of workers that train many trials at once; no Ray is started."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.tune.schedulers import TrialScheduler
from scripted_driver import STUDY, Driver

from plml.config import make_config
from plml.population import is_stackable
from tune.crew import Orders
from tune.crew_size import crew_limit
from tune.orders import OrderBook
from tune.scheduler import PrunerScheduler
from tune.searcher import LedgerSearcher
from tune.study import load_study
from tune.trainable import TrialReport
from tune.trial_source import FINISHED

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
