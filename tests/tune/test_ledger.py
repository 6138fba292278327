"""The ledger: it survives its driver's death, refuses another definition, and counts unique configurations."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from plml.errors import ConfigError
from tune.folders import StudyFolder, StudyHeldError
from tune.launch import verdict
from tune.leaderboard import write_leaderboard
from tune.ledger import DRIVER_DEATHS, Asked, Ledger
from tune.records import best_trials, counted_trials, failures, is_success, open_study, state_of
from tune.renewal import learn_from
from tune.study import Study, load_study

STUDY: dict[str, Any] = {
    "base": {"epochs": 4, "data": {"name": "digits", "observation": "single_positive"}, "method": "an"},
    "search_space": {
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "optim.weight_decay": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True, "or_zero": True},
    },
    "n_trials": 6,
}


def make_study(folder: Path, name: str = "mine", **changes: Any) -> Study:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return load_study(file)


def open_ledger(folder: Path, n_trials: int = 6, storage: str | None = None, **changes: Any) -> Ledger:
    study = make_study(folder, **changes)
    where = StudyFolder(folder / study.name)
    where.path.mkdir(exist_ok=True)
    where.storage_file.write_text(storage or str(where.journal))
    return Ledger(study, where, storage or str(where.journal), n_trials)


def ask(ledger: Ledger) -> Asked:
    asked = ledger.ask()
    assert asked is not None
    return asked


def finish(ledger: Ledger, asked: Asked, value: float = 50.0) -> None:
    ledger.report(asked.trial, [(epoch, value) for epoch in range(4)])
    ledger.tell_complete(asked.trial, value)


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def test_a_dead_drivers_trials_go_on_as_they_were(tmp_path: Path, storage: str | None) -> None:
    first = open_ledger(tmp_path, storage=storage)
    finish(first, ask(first))
    orphans = [ask(first), ask(first)]
    first.report(orphans[0].trial, [(0, 10.0), (1, 20.0)])
    del first  # killed here

    second = open_ledger(tmp_path, storage=storage)
    assert second.reconcile() == 2
    assert [state_of(trial) for trial in second.trials()] == ["COMPLETE", "INTERRUPTED", "INTERRUPTED"]
    resumed = [ask(second), ask(second)]
    for before, after in zip(orphans, resumed, strict=True):
        assert (after.key, after.values, after.trial.number) == (before.key, before.values, before.trial.number)
    assert second.frozen(resumed[0].trial).intermediate_values == {1: 10.0, 2: 20.0}
    for asked in resumed:
        finish(second, asked)
    while (asked := second.ask()) is not None:
        finish(second, asked)
    assert len(second.optuna.trials) == 6  # nothing was asked twice
    assert {state_of(trial) for trial in second.trials()} == {"COMPLETE"}


def test_a_trial_killed_before_it_was_signed_is_asked_again(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    first.optuna.ask()  # the driver dies before parameters and key are stored
    second = open_ledger(tmp_path)
    assert second.reconcile() == 1
    assert ask(second).key == "0000"
    assert second.begun() == 1


def test_budget_counts_configurations_and_extends(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, n_trials=2)
    for _ in range(2):
        finish(ledger, ask(ledger))
    assert ledger.ask() is None
    assert not ledger.has_work()
    assert open_ledger(tmp_path, n_trials=1).ask() is None  # a smaller number changes nothing
    extended = open_ledger(tmp_path, n_trials=3)
    assert extended.has_work()
    finish(extended, ask(extended))
    assert extended.ask() is None
    assert extended.ended() == 3


def test_draws_do_not_repeat_across_restarts_and_repeat_across_studies(tmp_path: Path) -> None:
    def drawn(folder: Path, restarts: bool) -> list[float]:
        folder.mkdir()
        ledger = open_ledger(folder)
        values = []
        for _ in range(6):
            asked = ask(ledger)
            values.append(float(asked.values["optim.lr"]))
            finish(ledger, asked, value=asked.values["optim.lr"])
            if restarts:
                ledger = open_ledger(folder)
        return values

    straight = drawn(tmp_path / "a", restarts=False)
    assert drawn(tmp_path / "b", restarts=True) == straight
    assert len(set(straight)) == 6


def test_another_seed_draws_other_points(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = ask(open_ledger(tmp_path / "a")).values
    second = ask(open_ledger(tmp_path / "b", sampler={"name": "tpe", "seed": 1})).values
    assert first != second


def test_points_are_tried_first_and_once(tmp_path: Path) -> None:
    points = [{"optim.lr": 0.001, "optim.weight_decay": 0.0}, {"optim.lr": 0.002}]
    ledger = open_ledger(tmp_path, points=points)
    assert ask(ledger).values == {"optim.lr": 0.001, "optim.weight_decay": 0.0}
    for _ in range(2):
        ledger = open_ledger(tmp_path, points=points)
        ledger.reconcile()
    assert ask(ledger).key == "0000"
    assert ask(ledger).values["optim.lr"] == 0.002
    drawn = [ask(ledger).values["optim.lr"] for _ in range(4)]
    assert not {0.001, 0.002} & set(drawn)
    assert ledger.ask() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": {"optim.lr": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True}}}, "optim.lr"),
        ({"base": {**STUDY["base"], "epochs": 5}}, r"base.epochs: 4 -> 5"),
        ({"objective": {"metric": "val/mAP"}}, r"objective.metric: selection/best -> val/mAP"),
        ({"objective": {"mode": "min"}}, r"objective.mode: max -> min"),
        ({"seeds": [0, 1]}, r"seeds: None -> \[0, 1\]"),
    ],
)
def test_another_definition_is_refused_with_the_difference(tmp_path: Path, changes: Any, message: str) -> None:
    open_ledger(tmp_path)
    with pytest.raises(ConfigError, match=message) as error:
        open_ledger(tmp_path, **changes)
    assert "--fork NEW" in str(error.value)


def test_what_does_not_change_a_trial_may_change(tmp_path: Path) -> None:
    open_ledger(tmp_path)
    open_ledger(tmp_path, sampler={"name": "random", "seed": 3}, pruner={"name": "median"}, description="other")


def test_a_torn_journal_opens_and_a_dead_drivers_lock_is_no_obstacle(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    finish(ledger, ask(ledger))
    journal = ledger.folder.journal
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"x","tri')
    journal.with_name("optuna.log.lock").symlink_to(journal)
    again = open_ledger(tmp_path)
    assert again.ended() == 1
    finish(again, ask(again))
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert open_ledger(tmp_path).ended() == 2


def test_a_known_configuration_is_not_trained_again(tmp_path: Path) -> None:
    space = {"optim.batch_size": {"type": "categorical", "choices": [8, 16, 32]}}
    ledger = open_ledger(tmp_path, n_trials=10, search_space=space, sampler={"name": "random", "seed": 0})
    seen = []
    while (asked := ledger.ask()) is not None:
        seen.append(asked.values["optim.batch_size"])
        finish(ledger, asked)
    assert sorted(seen) == [8, 16, 32]
    assert ledger.ended() == 3
    assert len(best_trials(ledger.optuna, 10)) == 3


def test_a_grid_is_visited_once_across_launches(tmp_path: Path) -> None:
    space = {
        "optim.batch_size": {"type": "categorical", "choices": [8, 16]},
        "optim.name": {"type": "categorical", "choices": ["adam", "sgd"]},
    }
    grid = {"search_space": space, "sampler": {"name": "grid"}}
    seen = []
    for _ in range(6):
        ledger = open_ledger(tmp_path, n_trials=4, **grid)
        asked = ledger.ask()
        if asked is not None:
            seen.append(tuple(asked.values.values()))
            finish(ledger, asked)
    assert seen == [(8, "adam"), (8, "sgd"), (16, "adam"), (16, "sgd")]
    assert ledger.ended() == 4


@pytest.mark.parametrize("kind", ["diverged", "out_of_memory", "invalid"])
def test_a_configuration_that_cannot_be_trained_is_a_violation_that_samplers_see(tmp_path: Path, kind: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.tell_violation(ask(ledger).trial, kind, "why")
    [trial] = ledger.trials()
    assert trial.state == TrialState.PRUNED
    assert trial.system_attrs[f"constraints:{kind}"] == 1.0
    assert not is_success(trial)
    assert failures(ledger.trials()) == {f"{kind.replace('_', ' ')}: why": 1}


@pytest.mark.parametrize("kind", ["diverged", "out_of_memory"])
def test_tpe_keeps_away_from_what_cannot_be_trained(tmp_path: Path, kind: str) -> None:
    def wasted(folder: Path, as_violation: bool) -> int:
        folder.mkdir()
        ledger = open_ledger(folder, n_trials=50, sampler={"name": "tpe", "n_startup_trials": 10})
        count = 0
        while (asked := ledger.ask()) is not None:
            lr = asked.values["optim.lr"]
            if lr <= 1e-3:
                finish(ledger, asked, value=1000 * lr)  # better and better towards the half that diverges
                continue
            count += 1
            if as_violation:
                ledger.tell_violation(asked.trial, kind, "it cannot be trained")
            else:
                ledger.tell_failed(asked.trial, "it cannot be trained")
        return count

    assert 1.4 * wasted(tmp_path / "violation", True) < wasted(tmp_path / "fail", False)


@pytest.mark.parametrize("kind", ["diverged", "out_of_memory"])
def test_tpe_leaves_a_half_that_cannot_be_trained(tmp_path: Path, kind: str) -> None:
    ledger = open_ledger(tmp_path, n_trials=60, sampler={"name": "tpe", "n_startup_trials": 10})
    wasted = []
    while (asked := ledger.ask()) is not None:
        lr = asked.values["optim.lr"]
        wasted.append(lr > 1e-3)
        if lr > 1e-3:
            ledger.tell_violation(asked.trial, kind, "it cannot be trained")
        else:
            finish(ledger, asked, value=-abs(math.log10(lr / 3e-4)))
    assert sum(wasted[:10]) >= 3  # it had to find out
    assert sum(wasted[20:]) <= 40 / 5  # chance would have half


def test_a_combination_that_cannot_be_trained_is_told_and_the_next_one_drawn(tmp_path: Path) -> None:
    space = {
        "selection.labels": {"type": "categorical", "choices": ["observed", "clean"]},
        "optim.lr": STUDY["search_space"]["optim.lr"],
    }
    ledger = open_ledger(tmp_path, search_space=space)
    study = ledger.study
    broken = study.space.__class__(study.space.dimensions, {**study.space.base_tree, "epochs": -1}, study.space.base)
    object.__setattr__(study, "space", broken)
    with pytest.raises(ConfigError, match="epochs"):
        ledger.ask()
    [trial] = ledger.trials()
    assert (trial.user_attrs["reason"], trial.user_attrs["key"]) == ("invalid", "0000")


def test_attempts_are_kept(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    first = ask(ledger)
    ledger.put_back(first.trial, attempt=2, error="its process died")
    again = ask(ledger)
    assert (again.key, again.attempt) == (first.key, 2)
    ledger.tell_failed(again.trial, "its process died")
    assert state_of(ledger.trials()[0]) == "FAILED"


def test_retrying_keeps_key_and_parameters_and_counts_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    first = ask(ledger)
    ledger.tell_failed(first.trial, "no such file")
    finish(ledger, ask(ledger))
    assert ledger.retry_failed() == 1
    again = ask(ledger)
    assert (again.key, again.values) == (first.key, first.values)
    finish(ledger, again)
    assert [state_of(trial) for trial in ledger.trials()] == ["COMPLETE", "COMPLETE"]
    assert ledger.begun() == 2
    assert ledger.retry_failed() == 0


def test_a_trial_that_kills_its_driver_every_time_is_given_up(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for _ in range(DRIVER_DEATHS):
        ask(ledger)
        ledger = open_ledger(tmp_path)
        ledger.reconcile()
        assert state_of(ledger.trials()[0]) == "INTERRUPTED"
    ask(ledger)
    ledger.reconcile()
    assert state_of(ledger.trials()[0]) == "FAILED"


def test_deaths_of_a_driver_do_not_count_while_the_trial_gets_on(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for epoch in range(DRIVER_DEATHS + 3):
        ledger.report(ask(ledger).trial, [(epoch, 1.0)])
        ledger = open_ledger(tmp_path)
        ledger.reconcile()
    assert state_of(ledger.trials()[0]) == "INTERRUPTED"


def test_a_fork_knows_the_old_trials_and_does_not_count_them(tmp_path: Path) -> None:
    old = open_ledger(tmp_path)
    for value in (10.0, 30.0, 20.0):
        finish(old, ask(old), value)
    low = sorted(float(t.user_attrs["values"]["optim.lr"]) for t in old.trials())[1]
    space = {**STUDY["search_space"], "optim.lr": {"type": "float", "low": low, "high": 1e-2, "log": True}}
    new = open_ledger(tmp_path, name="new", search_space=space)
    assert learn_from(new, open_study(StudyFolder(tmp_path / "mine"))) == (2, 1)
    assert new.begun() == 0
    assert len(new.optuna.get_trials(states=(TrialState.COMPLETE,))) == 2
    finish(new, ask(new))
    assert [trial.user_attrs["key"] for trial in counted_trials(new.optuna)] == ["0002"]


def test_only_one_driver_holds_a_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "mine")
    code = f"""
import sys, time
from pathlib import Path
from tune.folders import StudyFolder
with StudyFolder(Path({str(folder.path)!r})).hold():
    print("held", flush=True)
    time.sleep(60)
"""
    root = Path(__file__).parents[2]
    other = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StudyHeldError, match=f"process {other.pid} on {os.uname().nodename}"), folder.hold():
            pass
        assert f"process {other.pid}" in str(folder.holder())
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with folder.hold():  # a dead driver holds nothing
        pass
    assert folder.holder() is None


def test_the_trash_keeps_the_old_study(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    trash = ledger.folder.discard()
    assert trash is not None
    assert (trash / "optuna.log").is_file()
    assert not ledger.folder.path.exists()
    assert ledger.folder.discard() is None


def test_opening_a_ledger_of_five_hundred_trials_is_quick(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, n_trials=600)
    for number in range(500):
        values = {"optim.lr": 1e-4 * 1.005**number, "optim.weight_decay": 0.0}
        params = ledger.study.space.to_params(values)
        ledger.optuna.add_trial(
            optuna.trial.create_trial(
                value=float(number),
                intermediate_values={epoch: number + epoch / 25 - 1 for epoch in range(25)},
                params=params,
                distributions=ledger.study.space.distributions(params),
                user_attrs={"key": f"{number:04d}", "values": values, "fingerprint": str(number)},
            )
        )
    began = time.perf_counter()
    again = open_ledger(tmp_path, n_trials=600)
    ask(again)
    assert time.perf_counter() - began < 5
    took = []
    for _ in range(5):
        began = time.perf_counter()
        asked = ask(again)
        for epoch in range(25):
            again.report(asked.trial, [(epoch, float(epoch))])
            asked.trial.should_prune()
        again.tell_complete(asked.trial, 24.0)
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.5
    began = time.perf_counter()
    board = write_leaderboard(again.optuna, again.folder.path)
    assert time.perf_counter() - began < 30  # figures are most of it
    assert len(board.ranked) == 505


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"storage nosuchdb://x cannot be opened"):
        open_ledger(tmp_path, storage="nosuchdb://x")
    with pytest.raises(ConfigError, match="there is no study 'never'"):
        open_study(StudyFolder(tmp_path / "never"))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["failed", "failed"], 3),
        (["failed", "diverged"], 3),
        (["failed", "complete"], 0),
        (["failed", "pruned"], 0),
        (["failed"], 0),  # the other one is still to be trained: the time budget is spent
        ([], 0),
    ],
)
def test_a_study_failed_if_every_trial_did(tmp_path: Path, outcomes: list[str], code: int) -> None:
    ledger = open_ledger(tmp_path, n_trials=2)
    for outcome in outcomes:
        asked = ask(ledger)
        match outcome:
            case "complete":
                finish(ledger, asked)
            case "pruned":
                ledger.report(asked.trial, [(0, 1.0)])
                ledger.tell_pruned(asked.trial)
            case "diverged":
                ledger.tell_violation(asked.trial, "diverged", "loss is nan")
            case _:
                ledger.tell_failed(asked.trial, "a fault")
    assert verdict(ledger, interrupted=False, gave_up=False) == code
    assert verdict(ledger, interrupted=True, gave_up=False) == 4
    assert verdict(ledger, interrupted=False, gave_up=True) == 3
