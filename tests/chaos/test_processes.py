"""Processes die, hang, and are asked to stop: workers, the driver, Ray's own, at random moments."""

import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from plml.checkpoint import load_checkpoint
from plml.report_log import read_reports
from tune.records import state_of

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
Besiege = Callable[..., Any]


def test_workers_are_killed(besiege: Besiege, chance: random.Random) -> None:
    siege, times = besiege(), 3
    process = siege.start()
    for third in range(times):
        siege.wait(1 + third * siege.total // 4 + chance.randint(0, siege.total // 6), process)
        siege.wait_until(lambda: bool(siege.workers(process)), process)
        time.sleep(chance.uniform(0, 0.5))
        chance.choice(siege.workers(process)).kill()
    assert siege.finish(process) == 0, siege.out()
    assert siege.out().count("its process died") >= 1
    siege.check("SIGKILL of a worker", times)


def test_a_killed_worker_goes_on_from_its_record(
    besiege: Besiege, sabotage: Callable[[str], dict[str, str]], chance: random.Random
) -> None:
    body = """
    def epochs(self):
        for report in true(self):
            with (self.files.path / "trained").open("a") as lines:
                lines.write(f"{report.epoch}\\n")
            yield report
    """
    epochs = 80
    siege = besiege(
        changes={"base": {**besiege.study["base"], "epochs": epochs}, "n_trials": 2}, environment=sabotage(body)
    )
    process = siege.start()
    siege.wait_until(lambda: any(siege.where.path.glob("trials/*/last.pt")), process)
    time.sleep(chance.uniform(0, 1))
    folder = next(siege.where.path.glob("trials/*/last.pt")).parent
    recorded = len(load_checkpoint(folder / "last.pt")["history"])
    worker = psutil.Process(json.loads((folder / ".alive").read_text())["pid"])
    worker.kill()
    assert siege.finish(process) == 0, siege.out()
    trained = [int(line) for line in (folder / "trained").read_text().split()]
    assert sorted(set(trained)) == list(range(epochs))
    again = [epoch for epoch, times in Counter(trained).items() if times > 1]
    assert all(epoch >= recorded for epoch in again)  # what the record holds is not trained again
    [run] = [run for run in siege.mlflow()[0] if run.data.tags["plml.key"] == folder.name]
    assert run.data.tags["plml.attempt"] == "2"
    siege.check("SIGKILL of a worker that has a record", 1)


def test_the_driver_is_killed(besiege: Besiege, chance: random.Random) -> None:
    siege, times = besiege(), 4
    for quarter in range(times):
        process = siege.start()
        if quarter == 1:
            time.sleep(chance.uniform(0.5, 8))  # anywhere in the start
        else:
            siege.wait(siege.epochs() + chance.randint(1, siege.total // 6), process)
        assert process.poll() is None, siege.out()
        process.kill()
        process.wait()
    assert siege.run() == 0, siege.out()
    siege.check("SIGKILL of the driver", times)


def test_the_driver_of_a_study_that_prunes_is_killed_again_and_again(besiege: Besiege, chance: random.Random) -> None:
    points = [{"method.name": name, "optim.lr": 0.003} for name in ("an", "role")]
    pruner = {"name": "median", "min_epochs": 4, "n_startup_trials": 2}
    siege = besiege(changes={"pruner": pruner, "points": points, "n_trials": 10, "sampler": {}}, reference=None)
    times = 6
    for kill in range(times):
        process = siege.start()
        if kill in (1, 4):
            time.sleep(chance.uniform(0.5, 15))
        else:
            siege.wait(siege.epochs() + chance.randint(1, 12), process)
        assert process.poll() is None, siege.out()
        process.kill()
        process.wait()
    assert siege.run() == 0, siege.out()
    states: Counter[str] = Counter()
    for trial in siege.study().trials:
        states[state_of(trial)] += 1
        trained = len(read_reports(siege.where.trial(trial.user_attrs["key"])))
        # A pruned trial may be an epoch further on disk than its last report; never behind, never twice.
        assert sorted(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))
        assert 0 <= trained - len(trial.intermediate_values) <= 1
    assert set(states) <= {"COMPLETE", "PRUNED"}
    siege.check("SIGKILL of the driver, with a pruner", times, states)


def test_everything_is_killed_at_once_just_after_a_trial_ended(besiege: Besiege) -> None:
    siege = besiege()
    process = siege.start()
    siege.wait_until(lambda: "complete" in siege.out(), process)
    os.killpg(process.pid, signal.SIGKILL)  # as when a machine loses power: driver, Ray and workers
    process.wait()
    assert siege.run() == 0, siege.out()
    siege.check("all processes at once, after a trial's end", 1)


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_ray_itself_is_killed(besiege: Besiege, chance: random.Random, name: str) -> None:
    siege, times = besiege(), 2
    process = siege.start()
    for half in range(times):
        siege.wait(1 + half * siege.total // 2 + chance.randint(0, siege.total // 6), process)
        siege.keeper(process, name).kill()
        said = half + 1
        siege.wait_until(lambda said=said: siege.out().count(f"Ray's {name} died; starting again") == said, process)
    assert siege.finish(process) == 0, siege.out()
    siege.check(f"SIGKILL of Ray's {name}", times)


def test_ray_is_killed_while_the_driver_waits_for_its_answer(besiege: Besiege) -> None:
    """The driver's own thread never hears of it: a call of Ray keeps it until Ray ends the process."""
    siege = besiege()
    process = siege.start()
    siege.wait(3, process)
    keeper = siege.keeper(process, "gcs_server")
    keeper.suspend()
    time.sleep(6)  # Tune asks it for the cluster's resources, and waits
    keeper.kill()
    siege.wait_until(lambda: "Ray's gcs_server died; starting again" in siege.out(), process)
    assert siege.finish(process) == 0, siege.out()
    siege.check("Ray's gcs_server stopped, then SIGKILL", 1)


def test_ctrl_c_once_ends_epochs_and_twice_ends_at_once(besiege: Besiege, chance: random.Random) -> None:
    siege = besiege()
    for _ in range(2):
        process = siege.start()
        siege.wait(siege.epochs() + chance.randint(2, 8), process)
        siege.interrupt(process)
        assert siege.finish(process) == 4, siege.out()
        assert "To continue:" in siege.out()
        for file in siege.where.path.glob("trials/*/last.pt"):
            recorded = len(load_checkpoint(file)["history"])
            assert recorded == len((file.parent / "metrics.jsonl").read_text().splitlines())  # nothing to train again
    siege.check_stopped()
    process = siege.start()
    siege.wait(siege.epochs() + 2, process)
    siege.interrupt(process)
    time.sleep(0.05)
    siege.interrupt(process)
    began = time.monotonic()
    assert siege.finish(process) == 4, siege.out()
    assert time.monotonic() - began < 45
    siege.check_stopped()
    assert siege.run() == 0, siege.out()
    siege.check("Ctrl-C once, and twice", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_asks_to_stop(besiege: Besiege, number: signal.Signals) -> None:
    siege = besiege()
    process = siege.start()
    siege.wait(5, process)
    process.send_signal(number)
    assert siege.finish(process) == 4, siege.out()
    siege.check_stopped()
    assert siege.run() == 0, siege.out()
    siege.check(number.name, 1)


def test_a_worker_hangs(besiege: Besiege) -> None:
    siege = besiege(options=("--set", "resources.hang_timeout=8s"))
    process = siege.start()
    siege.wait(4, process)
    [*_, worker] = siege.workers(process)
    worker.send_signal(signal.SIGSTOP)
    try:
        assert siege.finish(process) == 0, siege.out()
    finally:
        if worker.is_running():
            worker.kill()
    assert re.search(r"showed no sign of life for \d+ s", siege.out())
    siege.check("a worker hangs", 1)


def test_a_second_driver_is_turned_away(besiege: Besiege) -> None:
    siege = besiege()
    process = siege.start()
    siege.wait(1, process)
    for _ in range(2):
        second = siege.again()
        assert second.returncode == 5
        assert f"process {process.pid} on" in second.stderr
    assert siege.finish(process) == 0, siege.out()
    siege.check("a second driver", 2)


def test_no_process_is_left(besiege: Besiege) -> None:
    siege = besiege(changes={"n_trials": 2})
    process = siege.start()
    siege.wait(1, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert siege.finish(process) == 0, siege.out()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [left for left in alive if left.status() != psutil.STATUS_ZOMBIE]
    siege.check("no fault, and no process left", 1)
