"""Runs that a thread makes, feeds and ends: complete in MLflow, whatever the order, and never in the driver's way."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import FrozenTrial

from plml.report_log import read_reports
from plml.tracking import Tracker
from tune.delivery import Delivery
from tune.folders import StudyFolder
from tune.ledger import Asked, Ledger
from tune.study import load_study
from tune.trial_runs import TrialRuns

STUDY: dict[str, Any] = {
    "base": {"epochs": 4, "data": {"name": "digits", "observation": "single_positive"}, "method": "an"},
    "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "n_trials": 6,
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Ledger:
    return open_ledger(tmp_path, request.node.name)


def open_ledger(folder: Path, name: str) -> Ledger:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    study = load_study(file)
    where = StudyFolder(folder / study.name)
    where.path.mkdir(exist_ok=True)
    return Ledger(study, where, str(where.journal), study.budget())


class Crew:
    """Trials whose workers only write into their run folders."""

    def __init__(self, ledger: Ledger, uri: str, *, every_s: float = 15.0) -> None:
        self.ledger, self.warned = ledger, list[str]()
        self.runs = TrialRuns(uri, ledger, warn=self.warned.append)
        self.runs.delivery = Delivery(self.runs, every_s=every_s)
        Tracker(uri)  # imports MLflow without the deprecation warnings that would fail a test
        self.client = MlflowClient(uri)

    def begin(self, count: int) -> list[Asked]:
        asked = self.ledger.ask_many(count)
        for one in asked:
            self.runs.begin_soon(self.frozen(one), self.ledger.study.space.resolve(one.values))
        return asked

    def train(self, asked: Asked, first: int, last: int) -> None:
        folder = self.ledger.folder.trial(asked.key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text("a: 1\n")
        with (folder / "metrics.jsonl").open("a") as file:
            for epoch in range(first, last):
                row = {"epoch": epoch, "metrics": {"val/mAP": 10.0 * epoch}, "time": 1e9 + epoch, "final": epoch == 3}
                file.write(json.dumps(row) + "\n")

    def complete(self, asked: Asked) -> None:
        self.ledger.tell_complete(asked.trial, 30.0)
        self.runs.end_soon(self.frozen(asked))

    def frozen(self, asked: Asked) -> FrozenTrial:
        return self.ledger.frozen(asked.trial)

    def run(self, asked: Asked) -> Run:
        return self.client.get_run(self.ledger.noted(asked.key)["run"]["id"])

    def curve(self, asked: Asked) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.run(asked).info.run_id, "val/mAP")
        return [(point.step, point.value) for point in points]


FULL = [(epoch, 10.0 * epoch) for epoch in range(4)]


def wait_for(answer: Any) -> None:
    limit = time.monotonic() + 20
    while not answer():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_short_trials_are_delivered_whole(ledger: Ledger, uri: str) -> None:
    crew = Crew(ledger, uri)
    crew.runs.open_study()
    members = crew.begin(3)
    for asked in members:
        crew.train(asked, 0, 4)
    crew.complete(members[0])
    ledger.tell_pruned(members[1].trial)
    crew.runs.end_soon(crew.frozen(members[1]))
    ledger.tell_failed(members[2].trial, "OSError: injected")
    crew.runs.end_soon(crew.frozen(members[2]))
    left: list[int] = []
    crew.runs.drain(left.append)
    assert left
    assert left[-1] >= 1
    for asked, status, state in zip(
        members, ("FINISHED", "FINISHED", "FAILED"), ("COMPLETE", "PRUNED", "FAILED"), strict=True
    ):
        run = crew.run(asked)
        assert (run.info.status, run.data.tags["plml.state"]) == (status, state)
        assert crew.curve(asked) == FULL
        assert float(run.data.params["optim.lr"]) == asked.values["optim.lr"]
        assert {"Method", "log10 optim.lr", "epochs"} <= run.data.params.keys()
        assert run.data.tags["plml.folder"] == str(ledger.folder.trial(asked.key))
    assert crew.run(members[2]).data.tags["plml.error"] == "OSError: injected"
    assert len(crew.client.search_runs([str(crew.runs.experiment_id)])) == 4  # three and the study's own
    calls: list[Any] = []
    crew.runs.end = calls.append  # type: ignore[assignment,method-assign]
    crew.runs.deliver()
    assert calls == []  # nothing is left for the study's end
    assert crew.warned == []


def test_curves_of_live_trials_are_brought_once_and_then_completed(ledger: Ledger, uri: str) -> None:
    crew = Crew(ledger, uri, every_s=0.2)
    [asked] = crew.begin(1)
    wait_for(lambda: ledger.noted(asked.key))
    assert crew.run(asked).info.status == "RUNNING"
    crew.train(asked, 0, 2)
    wait_for(lambda: len(crew.curve(asked)) == 2)
    assert float(crew.run(asked).data.params["optim.lr"]) == asked.values["optim.lr"]
    crew.train(asked, 2, 4)
    crew.complete(asked)
    crew.runs.drain()
    assert crew.curve(asked) == FULL
    assert crew.run(asked).info.status == "FINISHED"


def test_an_interrupted_trial_goes_on_in_its_run(ledger: Ledger, uri: str) -> None:
    crew = Crew(ledger, uri)
    [asked] = crew.begin(1)
    crew.train(asked, 0, 2)
    ledger.put_back(asked.trial, attempt=2, error="its process died")
    crew.runs.end_soon(crew.frozen(asked))
    crew.runs.drain()
    first = crew.run(asked)
    assert (first.info.status, first.data.tags["plml.state"]) == ("KILLED", "INTERRUPTED")
    [again] = crew.begin(1)
    assert again.key == asked.key
    crew.train(again, 2, 4)
    crew.complete(again)
    crew.runs.drain()
    run = crew.run(again)
    assert (run.info.run_id, run.info.status, crew.curve(again)) == (first.info.run_id, "FINISHED", FULL)


def test_a_driver_that_is_killed_leaves_nothing_undelivered(tmp_path: Path, uri: str) -> None:
    ledger = open_ledger(tmp_path, "killed")
    crew = Crew(ledger, uri)
    [asked, other] = crew.begin(2)
    crew.runs.drain()
    noted = ledger.noted(asked.key)["run"]["id"]
    for one in (asked, other):
        crew.train(one, 0, 4)
        ledger.tell_complete(one.trial, 30.0)
    # Killed here: ended, not delivered, and of one the run is not even noted.
    ledger.note(other.key, run=None)
    again = Crew(open_ledger(tmp_path, "killed"), uri)
    again.runs.deliver()
    for one in (asked, other):
        assert (again.run(one).info.status, again.curve(one)) == ("FINISHED", FULL)
    assert again.run(asked).info.run_id == noted
    assert len(again.client.search_runs([str(again.runs.experiment_id)])) == 2  # the lost one was found, not made again


def test_a_store_that_does_not_answer_holds_nobody_up(ledger: Ledger, uri: str) -> None:
    crew = Crew(ledger, "http://127.0.0.1:9")
    began = time.monotonic()
    members = crew.begin(3)
    for asked in members:
        crew.train(asked, 0, 4)
        crew.complete(asked)
    assert time.monotonic() - began < 2
    crew.runs.drain()
    assert len(crew.warned) == 1
    assert "the study goes on" in crew.warned[0]
    later = Crew(ledger, uri)
    later.runs.deliver()
    assert [later.curve(asked) for asked in members] == [FULL] * 3


def test_trouble_with_a_run_folder_does_not_end_the_thread(ledger: Ledger, uri: str) -> None:
    crew = Crew(ledger, uri)
    bad, good = crew.begin(2)
    crew.train(good, 0, 4)
    ledger.folder.trial(bad.key).mkdir(parents=True)
    # A file whose reading is an input/output error: the first page of this process's memory.
    (ledger.folder.trial(bad.key) / "metrics.jsonl").symlink_to("/proc/self/mem")
    crew.complete(bad)
    crew.complete(good)
    crew.runs.drain()
    assert crew.curve(good) == FULL
    assert [bad.key in text for text in crew.warned] == [True]


def test_nothing_is_tracked_without_a_store(ledger: Ledger) -> None:
    runs = TrialRuns(None, ledger, warn=pytest.fail)
    [asked] = ledger.ask_many(1)
    runs.begin_soon(ledger.frozen(asked.trial), ledger.study.base)
    runs.end_soon(ledger.frozen(asked.trial))
    runs.drain()
    assert read_reports(ledger.folder.trial(asked.key)) == []
