"""What the driver makes of a worker's reports, worker deaths and prunings; no Ray is started."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from scripted_driver import Driver

from tune.folders import StudyHeldError
from tune.trial_source import FINISHED


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
