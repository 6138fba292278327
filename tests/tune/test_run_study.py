"""Whole studies on a real Ray with a real MLflow database: finished, interrupted, killed, and promoted."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from plml.errors import ConfigError
from tune.folders import StudyFolder
from tune.records import counted_trials, open_study, state_of

# MLflow's own use of SQLAlchemy, in the client that these tests read back with.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tune" / "run.py"
LIMIT_S = 240

STUDY: dict[str, Any] = {
    "description": "small scenes, short trials",
    "base": {
        "epochs": 3,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 160, "num_val": 60, "num_test": 80},
        },
        "stopping": {"rule": "patience", "patience": 9},
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "method": "default",
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "sampler": {"name": "tpe", "seed": 0, "n_startup_trials": 3},
    "pruner": {"name": "successive_halving", "min_epochs": 1, "reduction_factor": 2},
    "points": [{"method.name": "an", "optim.lr": 0.003}, {"method.name": "role", "optim.lr": 0.003}],
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
    "n_trials": 4,
}


def write_study(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return file


def start(folder: Path, *arguments: str, script: Path = RUN) -> "subprocess.Popen[str]":
    """Start the runner from ``folder``, as a user would from anywhere."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, out


def run(folder: Path, *arguments: str, script: Path = RUN) -> tuple[int, str]:
    return finish(start(folder, *arguments, script=script))


def states_of(folder: Path) -> Counter[str]:
    return Counter(map(state_of, counted_trials(open_study(StudyFolder(folder / "results" / "small")))))


def mlflow_runs(folder: Path, kind: str = "trial") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    experiment = client.get_experiment_by_name("plml/small")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.`plml.kind` = '{kind}'", max_results=1000))


def assert_consistent(folder: Path, n_trials: int) -> None:
    """Ledger, MLflow and run folders tell the same story, and each says every epoch once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    study = open_study(StudyFolder(folder / "results" / "small"))
    trials = {trial.user_attrs["key"]: trial for trial in counted_trials(study)}
    assert len(trials) == len(study.trials) == n_trials
    runs = mlflow_runs(folder)
    assert sorted(run.data.tags["plml.key"] for run in runs) == sorted(trials)
    assert len({trial.user_attrs["fingerprint"] for trial in trials.values()}) == n_trials
    for run in runs:
        trial = trials[run.data.tags["plml.key"]]
        assert run.info.status == "FINISHED"
        assert run.data.tags["plml.state"] == state_of(trial)
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/mAP")]
        assert steps == sorted(set(steps)) == list(range(len(steps)))
        assert [step + 1 for step in steps] == sorted(trial.intermediate_values)
        if state_of(trial) == "COMPLETE":
            best = client.get_metric_history(run.info.run_id, "selection/best")
            assert trial.value == pytest.approx(best[-1].value)
            assert "test/mAP" in run.data.metrics
    [summary] = mlflow_runs(folder, "study")
    assert summary.info.status == "FINISHED"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study that ran to its end, started from its own folder by a relative path."""
    folder = tmp_path_factory.mktemp("a study")
    write_study(folder)
    code, out = run(folder, "--study", "small.yaml")
    assert code == 0, out
    return folder, out


def test_a_study_runs_to_its_end_and_everything_agrees(finished: tuple[Path, str]) -> None:
    folder, out = finished
    assert_consistent(folder, 4)
    assert str(folder / "results" / "small") in out
    assert "--study small.yaml" in out
    for name in ("leaderboard.csv", "best.yaml", "study.yaml", "optuna.log"):
        assert (folder / "results" / "small" / name).is_file()
    assert not (folder / "results" / "small" / ".ray").exists()
    assert list(folder.rglob("*.db")) == [folder / "results" / "mlflow.db"]  # whoever writes, there is one
    assert not list(folder.rglob("mlruns"))


def test_best_yaml_gives_the_same_test_map_again(finished: tuple[Path, str], tmp_path: Path) -> None:
    from plml.config import load_config
    from tune.records import best_trials
    from tune.trainable import open_trainer
    from tune.trial_runs import read_reports

    folder = StudyFolder(finished[0] / "results" / "small")
    [best] = best_trials(open_study(folder), 1)
    trainer = open_trainer(load_config(folder.path / "best.yaml"), tmp_path)
    *_, last = trainer.epochs()
    told = read_reports(folder.trial(best.user_attrs["key"]))[-1]
    assert last.metrics["test/mAP"] == pytest.approx(told.metrics["test/mAP"], abs=1e-6)


def test_a_finished_study_is_not_trained_again_and_can_be_extended(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, out = run(folder, "--study", "small.yaml")
    assert (code, "training" in out) == (0, False), out
    assert_consistent(folder, 4)
    code, out = run(folder, "--study", "small.yaml", "--trials", "5")
    assert code == 0, out
    assert "4 of 5 trials are done" in out
    assert_consistent(folder, 5)


def test_another_definition_is_refused(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, out = run(folder, "--study", "small.yaml", "--set", "epochs=4")
    assert code == 2
    assert "base.epochs: 3 -> 4" in out


def test_status_reads_a_study_without_its_lock(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, out = run(folder, "--study", "small", script=ROOT / "tune" / "status.py")
    assert code == 0, out
    assert "the study stands still" in out
    assert "trials begun" in out
    code, out = run(folder, "--study", "smal", script=ROOT / "tune" / "status.py")
    assert (code, "did you mean 'small'" in out) == (2, True)


@pytest.mark.cluster
def test_promotion_trains_the_best_on_other_seeds_and_only_once(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    promote = ROOT / "tune" / "promote.py"
    code, out = run(folder, "--study", "small", "--top", "1", "--seeds", "2", script=promote)
    assert code == 0, out
    runs = mlflow_runs(folder, "promotion")
    assert len(runs) == 2
    assert {run.data.tags["plml.seed"] for run in runs} == {"1", "2"}
    assert {run.data.tags["plml.observation_seed"] for run in runs} == {"1201", "1202"}
    assert all("test/mAP" in run.data.metrics and run.info.status == "FINISHED" for run in runs)
    table = (folder / "results" / "small" / "promotion.csv").read_text().splitlines()
    assert len(table) == 2
    assert "test/mAP std" in table[0]
    code, again = run(folder, "--study", "small", "--top", "1", "--seeds", "2", script=promote)
    assert (code, "training" in again) == (0, False), again
    assert len(mlflow_runs(folder, "promotion")) == 2


# -- interruptions ----------------------------------------------------------------------------------------


def epochs_of(folder: Path) -> int:
    """Return how many reported epochs the ledger holds."""
    where = StudyFolder(folder / "results" / "small")
    if not where.journal.is_file():
        return 0
    try:
        return sum(len(trial.intermediate_values) for trial in counted_trials(open_study(where)))
    except ConfigError:
        return 0  # the file is there, the study not yet


def wait_for(folder: Path, epochs: int, process: "subprocess.Popen[str]") -> None:
    """Wait until the ledger holds so many reported epochs."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if epochs_of(folder) >= epochs:
            return
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"the study did not get under way: {finish(process)[1]}")


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Processes in which Ray trains trials now."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("ImplicitFunc" in part or "ray_trial" in part for part in child.cmdline()):
                found.append(child)
    return found


@pytest.mark.cluster
def test_whatever_ends_a_launch_the_same_command_goes_on(tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM, SIGUSR1, a spent time budget, SIGKILL, a second driver and a killed worker, in one study."""
    # Epochs long enough, and enough of them, that no trial ends before its last interruption on a fast machine.
    data = {**STUDY["base"]["data"], "options": {"num_train": 320, "num_val": 60, "num_test": 80}}
    base = {**STUDY["base"], "data": data, "epochs": 80, "stopping": {"rule": "patience", "patience": 99}}
    write_study(tmp_path, base=base, pruner={"name": "none"}, n_trials=2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        process = start(tmp_path, "--study", "small.yaml")
        wait_for(tmp_path, epochs_of(tmp_path) + 2, process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as Ctrl-C does: Ray's processes and the workers get it too
        else:
            process.send_signal(number)
        code, out = finish(process)
        assert code == 4, out
        assert "To continue:" in out
        assert states_of(tmp_path) == {"INTERRUPTED": 2}
        assert {run.info.status for run in mlflow_runs(tmp_path)} == {"KILLED"}

    code, out = run(tmp_path, "--study", "small.yaml", "--time-budget", "3s")
    assert code == 0, out
    assert "the time budget of 3 s is spent" in out
    assert "To continue:" in out

    process = start(tmp_path, "--study", "small.yaml")
    while StudyFolder(tmp_path / "results" / "small").holder() is None and process.poll() is None:
        time.sleep(0.1)
    code, out = run(tmp_path, "--study", "small.yaml")
    assert code == 5, out
    assert f"process {process.pid}" in out
    wait_for(tmp_path, epochs_of(tmp_path) + 2, process)
    process.kill()
    finish(process)
    assert states_of(tmp_path) == {"RUNNING": 2}

    process = start(tmp_path, "--study", "small.yaml")
    wait_for(tmp_path, epochs_of(tmp_path) + 2, process)
    workers = workers_of(process)
    assert workers
    workers[0].kill()
    code, out = finish(process)
    assert code == 0, out
    assert "2 interrupted trials go on where they stopped" in out
    assert "it will be tried again" in out
    assert_consistent(tmp_path, 2)
    assert {run.data.tags["plml.attempt"] for run in mlflow_runs(tmp_path)} == {"1", "2"}


@pytest.mark.cluster
def test_when_every_trial_fails_the_exit_code_says_so(tmp_path: Path) -> None:
    lr = {"optim.lr": {"type": "float", "low": 1e25, "high": 1e30, "log": True}}
    base = {**STUDY["base"], "optim": {"name": "sgd"}, "method": "an"}
    write_study(tmp_path, base=base, search_space=lr, points=[], failure_budget=2, n_trials=6)
    code, out = run(tmp_path, "--study", "small.yaml")
    assert code == 3, out
    assert "2 trials failed in a row" in out
    assert "diverged" in out


@pytest.mark.cluster
def test_mlflow_trouble_never_stops_a_study(tmp_path: Path) -> None:
    write_study(tmp_path, n_trials=2)
    dead = "http://127.0.0.1:9"  # the discard port: nobody answers
    code, out = run(tmp_path, "--study", "small.yaml", "--tracking-uri", dead)
    assert code == 0, out
    assert out.count("the same command delivers everything later") == 1  # told once, not at every epoch
    assert sum(states_of(tmp_path).values()) == 2
    code, out = run(tmp_path, "--study", "small.yaml")
    assert code == 0, out
    assert_consistent(tmp_path, 2)  # the database, empty before, has caught up


@pytest.mark.cluster
def test_a_smoke_run_leaves_nothing_behind(tmp_path: Path) -> None:
    write_study(tmp_path)
    code, out = run(tmp_path, "--study", "small.yaml", "--smoke")
    assert code == 0, out
    assert "smoke run passed" in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_method_that_lacks_something_is_refused_before_a_trial(tmp_path: Path, arguments: list[str]) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", features=generator.random((90, 4)), labels=generator.random((90, 3)) < 0.4)
    base = {
        "mode": "linear",
        "epochs": 2,
        "data": {"name": "arrays", "root": "mine.npz", "observation": "single_positive"},
    }
    space = {"method.name": {"type": "categorical", "choices": ["an", "epr"]}}
    write_study(tmp_path, base=base, search_space=space, points=[])
    code, out = run(tmp_path, "--study", "small.yaml", *arguments)
    assert code == 2, out
    assert "error: method 'epr' needs the expected number of positives an image: set data.expected_positives\n" in out
    assert list(tmp_path.glob("results/small/trials/*")) == []
    code, out = run(tmp_path, "--study", "small.yaml", "--set", "data.expected_positives=1.2", "--dry-run")
    assert code == 0, out


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    write_study(tmp_path)
    code, out = run(tmp_path, "--study", "small.yaml", "--dry-run")
    assert code == 0, out
    for text in ("optim.lr", "method.name = role", "4 configurations of up to 3 epochs"):
        assert text in out
    assert re.search(r"one epoch of a trial took: an [0-9.]+ s, role [0-9.]+ s", out)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.cluster
def test_a_fork_learns_and_a_fresh_start_forgets(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, out = run(folder, "--study", "small.yaml", "--trials", "5")  # perhaps another test extended it already
    assert code == 0, out
    code, out = run(folder, "--study", "small.yaml", "--fork", "new", "--set", "epochs=1", "--trials", "1")
    assert code == 0, out
    assert "learnt from 5 trials of small" in out
    assert (folder / "results" / "new" / "best.yaml").is_file()
    code, out = run(folder, "--study", "new", "--trials", "1")  # a study in the output folder needs no file
    assert code == 0, out
    code, out = run(folder, "--study", "small.yaml", "--fresh", "--trials", "1")
    assert (code, "--yes" in out) == (2, True)
    code, out = run(folder, "--study", "small.yaml", "--fresh", "--yes", "--trials", "1")
    assert code == 0, out
    assert_consistent(folder, 1)
    assert len(list((folder / "results" / ".trash").iterdir())) == 1
