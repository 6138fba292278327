"""A queue of fixed runs: who gets what, what happens to runs whose worker dies, raises or gives up."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from plml.config import make_config
from tune.orders import OrderBook
from tune.run_queue import ATTEMPTS, FAILURE_BUDGET, PlannedRun, RunQueue, by_kind
from tune.stopping import Stopper
from tune.trainable import TrialReport
from tune.trial_source import FINISHED


class Notes:
    """Observer and keeper at once: remembers what it is told."""

    uri = "sqlite:///nowhere.db"

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.details: list[str] = []
        self.seen: list[str] = []
        self.opened: list[str] = []

    def began(self, key: str, values: dict[str, Any], attempt: int) -> None:
        self.seen.append(f"{key}#{attempt}")

    def reported(self, key: str, epoch: int, objective: float) -> None:
        self.seen.append(f"{key}@{epoch}")

    def ended(self, key: str, state: str, objective: float | None, detail: str) -> None:
        self.states.append((key, state))
        self.details.append(detail)

    def begin(self, run: PlannedRun) -> str:
        self.opened.append(run.key)
        return f"run-{run.key}"

    def end(self, run: PlannedRun, state: str, detail: str) -> None:
        self.seen.append(f"{run.key}={state}")


def planned(folder: Path, key: str, mode: str = "end_to_end", **overrides: Any) -> PlannedRun:
    config = make_config({"mode": mode, "epochs": 2}, overrides)
    return PlannedRun(key, {"key": key}, config, folder / key)


def queue(folder: Path, runs: list[PlannedRun], **options: Any) -> tuple[RunQueue, Notes]:
    notes = Notes()
    made = RunQueue(runs, notes, notes, gpu=0.0, stopper=Stopper(), **options)
    return made, notes


def report(outcome: str, key: str = "", **fields: Any) -> dict[str, Any]:
    return asdict(TrialReport(outcome, key=key, **fields))  # type: ignore[arg-type]


def test_runs_come_in_turn_and_each_writes_to_its_own_mlflow_run(tmp_path: Path) -> None:
    made, notes = queue(tmp_path, [planned(tmp_path, "a"), planned(tmp_path, "b", seed=1)])
    first, second = made.suggest("1"), made.suggest("2")
    assert first is not None
    assert second is not None
    assert (first["task"]["run_id"], second["task"]["run_id"]) == ("run-a", "run-b")
    assert made.suggest("3") is None  # a run that dies may come back
    made.on_report("1", report("running", epoch=0, objective=1.0))
    made.on_report("1", report("complete", epoch=1, objective=2.0))
    made.on_report("2", report("complete", epoch=1, objective=3.0))
    assert notes.states == [("a", "COMPLETE"), ("b", "COMPLETE")]
    assert made.suggest("3") == FINISHED


def test_a_worker_that_dies_is_replaced_a_bounded_number_of_times(tmp_path: Path) -> None:
    made, notes = queue(tmp_path, [planned(tmp_path, "a")])
    for attempt in range(ATTEMPTS):
        assert made.suggest(str(attempt)) is not None
        made.on_trial_complete(str(attempt), error=True)
    assert [state for _, state in notes.states] == ["INTERRUPTED"] * (ATTEMPTS - 1) + ["FAILED"]
    assert made.suggest("last") == FINISHED
    assert "its process died" in made.failures["a"]


def test_what_a_worker_wrote_before_it_raised_is_the_reason(tmp_path: Path) -> None:
    made, _ = queue(tmp_path, [planned(tmp_path, "a")])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "error.json").write_text('{"error": "OSError: disk"}')
    for attempt in range(ATTEMPTS):
        made.suggest(str(attempt))
        made.on_trial_complete(str(attempt), error=True)
    assert made.failures == {"a": f"OSError: disk ({ATTEMPTS} attempts)"}


@pytest.mark.parametrize("outcome", ["diverged", "out_of_memory", "rejected"])
def test_what_no_further_attempt_can_help_fails_at_once(tmp_path: Path, outcome: str) -> None:
    made, notes = queue(tmp_path, [planned(tmp_path, "a")])
    made.suggest("1")
    made.on_report("1", report(outcome, detail="why"))
    assert notes.states == [("a", "FAILED")]
    assert made.failures == {"a": f"{outcome.replace('_', ' ')}: why"}
    assert made.suggest("2") == FINISHED


def test_when_everything_fails_the_rest_is_not_begun(tmp_path: Path) -> None:
    runs = [planned(tmp_path, f"r{i}", seed=i) for i in range(3 * FAILURE_BUDGET)]
    made, _ = queue(tmp_path, runs)
    handed = 0
    while made.suggest(str(handed)) != FINISHED:
        made.on_report(str(handed), report("rejected", detail="why"))
        handed += 1
    assert handed == FAILURE_BUDGET
    assert len(made.failures) == FAILURE_BUDGET
    doing_well, _ = queue(tmp_path, runs)
    for place in range(len(runs)):
        assert doing_well.suggest(str(place)) is not None
        if place % 2:
            doing_well.on_report(str(place), report("running", epoch=0, objective=1.0))
        doing_well.on_report(str(place), report("diverged", detail="why"))


def test_linear_runs_on_the_same_data_are_a_crew(tmp_path: Path) -> None:
    runs = [planned(tmp_path, f"a{i}", "linear", seed=i) for i in range(3)]
    other = planned(tmp_path, "b", "linear", **{"data.options.num_train": 50})
    alone = planned(tmp_path, "c", "end_to_end")
    book = OrderBook(tmp_path / "orders")
    made, notes = queue(tmp_path, [runs[0], other, alone, *runs[1:]], crew=8, orders=book)
    crew = made.suggest("1")
    assert crew is not None
    assert [task["key"] for task in crew["crew"]] == ["a0", "a1", "a2"]
    assert all(task["run_id"] is None for task in crew["crew"])  # the driver delivers a crew's figures
    told = [report("complete", "a0", epoch=1, objective=1.0), report("running", "a1", epoch=0, objective=2.0)]
    made.on_report("1", {"told": told})
    assert book.take("1", 0).start == []
    assert notes.states == [("a0", "COMPLETE")]
    made.on_trial_complete("1", error=True)
    assert sorted(key for key, state in notes.states if state == "INTERRUPTED") == ["a1", "a2"]
    assert {key.key for key, _ in made.waiting} == {"a1", "a2", "b", "c"}


def test_no_crew_takes_what_other_workers_could_train(tmp_path: Path) -> None:
    runs = [planned(tmp_path, f"a{i}", "linear", seed=i) for i in range(6)]
    made, _ = queue(tmp_path, runs, crew=32, orders=OrderBook(tmp_path / "orders"), concurrent=2)
    first, second = made.suggest("1"), made.suggest("2")
    assert first is not None
    assert second is not None
    assert len(first["crew"]) == 3
    assert len(first["crew"]) + len(second["crew"]) <= 6


def test_stopping_puts_nothing_more_out_and_closes_what_is_live(tmp_path: Path) -> None:
    stopper, notes = Stopper(), Notes()
    runs = [planned(tmp_path, "a"), planned(tmp_path, "b", seed=1)]
    made = RunQueue(runs, notes, notes, gpu=0.0, stopper=stopper)
    made.suggest("1")
    stopper.ask("time")
    assert made.suggest("2") is None
    made.on_trial_complete("1", error=True)
    made.close_live()
    assert notes.states == [("a", "INTERRUPTED")]
    assert not made.is_training


def test_a_run_stops_after_the_epoch_in_which_the_end_was_asked_for(tmp_path: Path) -> None:
    stopper, notes = Stopper(), Notes()
    made = RunQueue([planned(tmp_path, "a"), planned(tmp_path, "b", seed=1)], notes, notes, gpu=0.0, stopper=stopper)
    made.suggest("1")
    assert not made.on_report("1", report("running", epoch=0, objective=1.0))
    stopper.ask("signal")
    assert made.on_report("1", report("running", epoch=1, objective=1.0))
    assert notes.states == [("a", "INTERRUPTED")]
    assert made.suggest("2") == FINISHED


def test_trouble_with_storage_stops_the_queue(tmp_path: Path) -> None:
    stopper, notes = Stopper(), Notes()
    made = RunQueue([planned(tmp_path, "a")], notes, notes, gpu=0.0, stopper=stopper)
    made.suggest("1")
    made.on_report("1", report("storage", detail="disk: Read-only file system (EROFS)"))
    assert (notes.states, made.failures) == ([("a", "INTERRUPTED")], {})
    assert stopper.trouble == "disk: Read-only file system (EROFS)"


def test_runs_that_train_together_are_neighbours(tmp_path: Path) -> None:
    runs = [planned(tmp_path, f"{m}{s}", "linear", method=m, seed=s) for s in range(2) for m in ("bce", "bce_ls")]
    assert [run.key for run in by_kind(runs)] == ["bce0", "bce1", "bce_ls0", "bce_ls1"]
