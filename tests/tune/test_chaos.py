"""The driver is killed with SIGKILL at random moments, again and again; nothing is lost, nothing is done twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from plml.errors import ConfigError
from tune.folders import StudyFolder
from tune.records import counted_trials, open_study, state_of

# The warning is MLflow's own use of SQLAlchemy, in the client that the test reads back with.
pytestmark = [pytest.mark.chaos, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]

ROOT = Path(__file__).parents[2]
KILLS = 6
TRIALS = 10
EPOCHS = 12
LIMIT_S = 600
STUDY: dict[str, Any] = {
    "base": {
        "epochs": EPOCHS,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 160, "num_val": 60, "num_test": 80},
        },
        "stopping": {"rule": "patience", "patience": 99},
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "method": "default",
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "pruner": {"name": "median", "min_epochs": 4, "n_startup_trials": 2},
    "points": [{"method.name": "an", "optim.lr": 0.003}, {"method.name": "role", "optim.lr": 0.003}],
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
    "n_trials": TRIALS,
}


def start(folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "small.yaml"],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def reported_epochs(folder: StudyFolder) -> int:
    if not folder.journal.is_file():
        return 0
    try:
        return sum(len(trial.intermediate_values) for trial in counted_trials(open_study(folder)))
    except ConfigError:
        return 0  # the file is there, the study not yet


def epochs_trained(folder: StudyFolder) -> Counter[str]:
    """Count the epochs that each trial's worker began to write, from the time stamps in its checkpoints' history."""
    return Counter(
        {
            path.name: len((path / "metrics.jsonl").read_text().splitlines())
            for path in (folder.path / "trials").iterdir()
            if (path / "metrics.jsonl").is_file()
        }
    )


@pytest.mark.timeout(1800)
def test_a_driver_that_is_killed_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    folder = StudyFolder(tmp_path / "results" / "small")
    chance = random.Random(int(os.environ.get("PLML_CHAOS_SEED", "0")))
    first_epoch: dict[str, str] = {}  # of each trial: the line of its first report; training anew would change it
    for kill in range(KILLS):
        process = start(tmp_path)
        # Twice anywhere in the start, otherwise once training is under way: both must be survived.
        goal = reported_epochs(folder) + chance.randint(1, 12)
        deadline = time.monotonic() + (chance.uniform(0.5, 15.0) if kill in (1, 4) else LIMIT_S)
        while process.poll() is None and time.monotonic() < deadline and reported_epochs(folder) < goal:
            time.sleep(0.1)
        time.sleep(chance.uniform(0.0, 0.5))
        assert process.poll() is None, (tmp_path / "out.txt").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in sorted((folder.path / "trials").glob("*/metrics.jsonl")):
            line = path.read_text().splitlines()[0]
            assert first_epoch.setdefault(path.parent.name, line) == line, f"{path.parent.name} was begun twice"
    process = start(tmp_path)
    assert process.wait(timeout=LIMIT_S) == 0, (tmp_path / "out.txt").read_text()

    study = open_study(folder)
    trials = {trial.user_attrs["key"]: trial for trial in counted_trials(study)}
    assert len(trials) == len(study.trials) == TRIALS
    assert {state_of(trial) for trial in trials.values()} <= {"COMPLETE", "PRUNED"}
    assert len({trial.user_attrs["fingerprint"] for trial in trials.values()}) == TRIALS
    for key, line in first_epoch.items():
        assert (folder.trial(key) / "metrics.jsonl").read_text().splitlines()[0] == line

    trained = epochs_trained(folder)
    assert set(trained) == set(trials)
    for key, trial in trials.items():
        # A pruned trial may be an epoch further on disk than its last report; never behind, never twice.
        assert sorted(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))
        assert 0 <= trained[key] - len(trial.intermediate_values) <= 1
        lines = [json.loads(line) for line in (folder.trial(key) / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == list(range(trained[key]))

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/results/mlflow.db")
    experiment = client.get_experiment_by_name("plml/small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert Counter(run.data.tags["plml.kind"] for run in runs) == {"trial": TRIALS, "study": 1}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["plml.kind"] != "trial":
            continue
        key = run.data.tags["plml.key"]
        assert run.data.tags["plml.state"] == state_of(trials[key])
        for metric in ("val/mAP", "selection/best", "train/loss"):
            steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
            assert sorted(steps) == list(range(trained[key])), f"{metric} of {key}"
