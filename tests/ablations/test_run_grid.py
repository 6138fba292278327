"""Whole grids on a real Ray with a real MLflow database: finished, run again, shared, interrupted, mended."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

# MLflow's own use of SQLAlchemy, in the client that these tests read back with.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

ROOT = Path(__file__).parents[2]
RUN = ROOT / "ablations" / "run.py"
LIMIT_S = 240

GRID: dict[str, Any] = {
    "description": "tiny scenes",
    "base": {
        "mode": "linear",
        "epochs": 2,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 160, "num_val": 60, "num_test": 80},
        },
    },
    "factors": {"method.name": ["an", "role"], "optim.batch_size": [16, 32]},
    "baseline": {"method.name": "an", "optim.batch_size": 16},
    "seeds": [0, 1],
    "label_draws": [1200, 1201],
    "tune_per_cell": {
        "n_trials": 3,
        "search_space": {
            "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
            "method.lr_mult": {"type": "float", "low": 1.0, "high": 30.0, "when": {"method.name": "role"}},
        },
    },
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
}


def write(folder: Path, name: str = "mine", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return file


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(RUN), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    out, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, out


def trained(folder: Path) -> dict[str, float]:
    """Every run of the store with the time its result was written."""
    files = (folder / "results" / "ablations" / "runs").glob("*/result.json")
    return {file.parent.name: file.stat().st_mtime for file in files}


def rows(folder: Path, file: str, name: str = "mine") -> list[dict[str, str]]:
    with (folder / "results" / "ablations" / name / file).open(encoding="utf-8") as text:
        return list(csv.DictReader(text))


def mlflow_runs(folder: Path, kind: str, name: str = "mine") -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    experiment = client.get_experiment_by_name(f"plml/{name}")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.`plml.kind` = '{kind}'", max_results=1000))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A grid with a search in each cell that ran to its end."""
    folder = tmp_path_factory.mktemp("a grid")
    write(folder)
    code, out = run(folder, "--grid", "mine.yaml")
    assert code == 0, out
    return folder, out


def test_a_grid_ends_with_every_run_of_every_cell(finished: tuple[Path, str]) -> None:
    folder, out = finished
    assert "4 cells, 16 runs" in out
    assert "3 trials a cell" in out
    assert len(trained(folder)) == 16
    table = rows(folder, "runs.csv")
    cells = {"an, batch_size=16", "an, batch_size=32", "role, batch_size=16", "role, batch_size=32"}
    assert {row["cell"] for row in table} == cells
    assert len(table) == 16
    home = folder / "results" / "ablations"
    assert not (home / "mine" / ".ray").exists()
    assert not (home / "mine" / ".orders").exists()
    assert len(list((home / "studies").iterdir())) == 4
    for name in ("report.md", "table.tex", "cells.csv", "grid.yaml"):
        assert (home / "mine" / name).is_file()


def test_the_chosen_trial_is_not_trained_twice(finished: tuple[Path, str]) -> None:
    folder, out = finished
    assert "[24/24]" in out  # 4 searches of 3, and 4 cells x 4 runs without the chosen ones
    runs = folder / "results" / "ablations" / "runs"
    shared = [file for file in runs.glob("*/result.json") if file.stat().st_nlink == 2]
    assert len(shared) == 4


def test_each_cell_was_tuned_by_its_own_search(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    from tune.folders import StudyFolder
    from tune.records import best_trials, counted_trials, open_study

    rates: set[float] = set()
    for path in (folder / "results" / "ablations" / "studies").iterdir():
        study = open_study(StudyFolder(path))
        assert len(counted_trials(study)) == 3
        rates.add(best_trials(study, 1)[0].user_attrs["values"]["optim.lr"])
    configs = (folder / "results" / "ablations" / "runs").glob("*/config.yaml")
    assert {yaml.safe_load(file.read_text())["optim"]["lr"] for file in configs} == rates


def test_tables_equal_what_mlflow_has(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    in_runs = {run.data.tags["plml.run"]: run for run in mlflow_runs(folder, "run")}
    table = rows(folder, "runs.csv")
    assert len(in_runs) == len(table) == 16
    for row in table:
        run = in_runs[Path(row["folder"]).name]
        assert run.info.status == "FINISHED"
        assert run.data.tags["plml.state"] == "COMPLETE"
        assert run.data.metrics["test/mAP"] == pytest.approx(float(row["test/mAP"]), rel=1e-12)
        assert run.data.tags["plml.cell"] == row["cell"]
        [data] = run.inputs.dataset_inputs
        assert data.dataset.name == "digits"
    in_cells = {run.data.tags["plml.cell"]: run.data.metrics for run in mlflow_runs(folder, "cell")}
    for row in rows(folder, "cells.csv"):
        figures = in_cells[row["cell"]]
        assert figures["test/mAP"] == figures["test/mAP/mean"] == pytest.approx(float(row["mean"]), rel=1e-12)
        assert figures["test/mAP/std"] == pytest.approx(float(row["std"]), rel=1e-12)
        own = [float(each["test/mAP"]) for each in table if each["cell"] == row["cell"]]
        assert figures["test/mAP/mean"] == pytest.approx(sum(own) / len(own), rel=1e-12)
    [summary] = mlflow_runs(folder, "grid")
    notes = summary.data.tags["mlflow.note.content"]
    assert notes.startswith("# mine")
    assert f"get-artifact?run_uuid={summary.info.run_id}&path=figures/intervals.svg" in notes


def test_curves_of_a_cell_are_the_means_of_its_runs(finished: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    folder, _ = finished
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")

    def curve(run: Any) -> list[float]:
        return [point.value for point in client.get_metric_history(run.info.run_id, "val/mAP")]

    cell = mlflow_runs(folder, "cell")[0]
    own = [
        curve(run) for run in mlflow_runs(folder, "run") if run.data.tags["plml.cell"] == cell.data.tags["plml.cell"]
    ]
    assert len(own) == 4
    assert curve(cell) == pytest.approx([sum(values) / 4 for values in zip(*own, strict=True)], rel=1e-12)


def test_the_second_run_trains_nothing_and_says_the_same(finished: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    folder, _ = finished
    home, before = folder / "results" / "ablations" / "mine", trained(folder)
    texts = {name: (home / name).read_bytes() for name in ("report.md", "cells.csv", "runs.csv", "table.tex")}
    code, out = run(folder, "--grid", "mine.yaml", "--set", "seeds=[0]")
    assert code == 0, out
    assert len(mlflow_runs(folder, "run")) == len(rows(folder, "runs.csv")) == 8
    former = mlflow_runs(folder, "superseded")
    assert len([each for each in former if "plml.run" in each.data.tags]) == 8
    cells = {each.info.run_id for each in mlflow_runs(folder, "cell")}
    assert cells.isdisjoint(each.info.run_id for each in former)  # other runs, other curves: other aggregate runs
    code, out = run(folder, "--grid", "mine.yaml")
    assert code == 0, out
    assert "training" not in out
    assert "16 of 16 runs are done already" in out
    assert trained(folder) == before
    assert {name: (home / name).read_bytes() for name in texts} == texts
    assert len(mlflow_runs(folder, "run")) == 16
    again = mlflow_runs(folder, "cell")
    assert {each.info.run_id for each in again} == {e.info.run_id for e in former if "plml.run" not in e.data.tags}
    assert len(again) == 4
    assert len(mlflow_runs(folder, "grid")) == 1
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    for each in mlflow_runs(folder, "run"):
        steps = [point.step for point in client.get_metric_history(each.info.run_id, "test/mAP")]
        assert steps == [1]


def test_another_grid_uses_what_this_one_trained(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = trained(folder)
    write(folder, "other", factors={"method.name": ["an"], "optim.batch_size": [16, 32]})
    code, out = run(folder, "--grid", "other.yaml")
    assert code == 0, out
    assert "training" not in out
    assert trained(folder) == before
    assert len(mlflow_runs(folder, "run", "other")) == 8


def test_more_seeds_train_only_what_is_new_and_reports_need_no_training(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    factors = {"optim.batch_size": [16, 32]}
    write(folder, "wider", seeds=[0, 1, 2], factors=factors, baseline={}, base={**GRID["base"], "method": "an"})
    code, out = run(folder, "--grid", "wider.yaml", "--report")
    assert code == 0, out
    assert "stopped after" in out
    assert len(rows(folder, "runs.csv", "wider")) == 8
    assert "incomplete" in out
    before = trained(folder)
    code, out = run(folder, "--grid", "wider.yaml")
    assert code == 0, out
    assert len(trained(folder)) == len(before) + 4
    assert trained(folder).items() >= before.items()


def test_a_run_that_is_gone_from_the_store_is_trained_again_alone(finished: tuple[Path, str]) -> None:
    from mlflow import MlflowClient

    folder, _ = finished
    known, store = {run.data.tags["plml.run"]: run.info.run_id for run in mlflow_runs(folder, "run")}, trained(folder)
    row = next(r for r in rows(folder, "runs.csv") if (Path(r["folder"]) / "result.json").stat().st_nlink == 1)
    gone = Path(row["folder"])  # no search has it, so it cannot be taken from there
    shutil.rmtree(gone)
    left = {file: file.stat().st_mtime_ns for file in gone.parent.rglob("*") if file.is_file()}
    code, out = run(folder, "--grid", "mine.yaml")
    assert code == 0, out
    assert "15 of 16 runs are done already" in out
    assert "[1/1]" in out
    now = {file: file.stat().st_mtime_ns for file in gone.parent.rglob("*") if file.is_file()}
    assert now.keys() - left.keys() == {file for file in gone.rglob("*") if file.is_file()} != set()
    assert now.items() >= left.items()
    assert trained(folder).keys() == store.keys()
    [again] = [each for each in rows(folder, "runs.csv") if each["folder"] == row["folder"]]
    assert float(again["test/mAP"]) == pytest.approx(float(row["test/mAP"]), rel=1e-6)  # whoever trained beside it
    after = {run.data.tags["plml.run"]: run for run in mlflow_runs(folder, "run")}
    assert len(mlflow_runs(folder, "run")) == 16
    assert {name: run.info.run_id for name, run in after.items()} == known
    assert after[gone.name].info.status == "FINISHED"
    assert after[gone.name].data.tags["plml.state"] == "COMPLETE"
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/results/mlflow.db")
    history = client.get_metric_history(after[gone.name].info.run_id, "val/mAP")
    assert sorted(point.step for point in history) == [0, 1]
    assert len(mlflow_runs(folder, "cell")) == 4
    assert len(mlflow_runs(folder, "grid")) == 1


def test_an_interrupted_grid_goes_on(tmp_path: Path) -> None:
    base = {**GRID["base"], "mode": "end_to_end", "epochs": 10, "data": {**GRID["base"]["data"]}}
    factors = {"method.name": ["an", "role"]}
    write(tmp_path, base=base, tune_per_cell=None, factors=factors, label_draws=[1200], baseline={})
    process = start(tmp_path, "--grid", "mine.yaml")
    until = time.monotonic() + LIMIT_S
    while not trained(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 4, out
    assert "nothing is lost" in out
    before = trained(tmp_path)
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 0, out
    assert len(trained(tmp_path)) == 4
    assert trained(tmp_path).items() >= before.items()
    assert {run.info.status for run in mlflow_runs(tmp_path, "run")} == {"FINISHED"}
    assert len(mlflow_runs(tmp_path, "run")) == 4


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["search", "first run", "later"])
def test_a_killed_grid_goes_on(tmp_path: Path, moment: str) -> None:
    write(tmp_path)
    process = start(tmp_path, "--grid", "mine.yaml")
    studies = tmp_path / "results" / "ablations" / "studies"
    reached = {
        "search": lambda: any(studies.glob("*/trials/*/metrics.jsonl")),
        "first run": lambda: len(trained(tmp_path)) > 0,
        "later": lambda: len(trained(tmp_path)) > 6,
    }[moment]
    until = time.monotonic() + LIMIT_S
    while not reached() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    before = trained(tmp_path)
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 0, out
    assert len(trained(tmp_path)) == 16
    assert trained(tmp_path).items() >= before.items()
    runs = mlflow_runs(tmp_path, "run")
    assert len({run.data.tags["plml.run"] for run in runs}) == len(runs) == 16
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(rows(tmp_path, "runs.csv")) == 16


def test_runs_that_fail_are_told_and_tried_again(tmp_path: Path) -> None:
    # At this rate the loss of a plain network is not finite within an epoch.
    base = {**GRID["base"], "mode": "end_to_end", "optim": {"name": "sgd"}}
    factors = {"optim.lr": [1e-2, 1e30]}
    write(tmp_path, base=base, tune_per_cell=None, factors=factors, seeds=[0], label_draws=[1200], baseline={})
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 0, out
    assert "diverged" in out
    assert "the same command tries them again" in out
    cells = {row["cell"]: row for row in rows(tmp_path, "cells.csv")}
    assert cells["lr=0.01"]["n"] == "1"
    assert cells["lr=0.01"]["std"] == ""
    assert cells["lr=1e+30"]["mean"] == ""
    states = {run.data.tags["plml.cell"]: run.info.status for run in mlflow_runs(tmp_path, "run")}
    assert states == {"lr=0.01": "FINISHED", "lr=1e+30": "FAILED"}


def test_a_grid_in_which_everything_fails_has_its_own_exit_code_and_one_reason(tmp_path: Path) -> None:
    base = {**GRID["base"], "mode": "end_to_end", "optim": {"name": "sgd", "lr": 1e30}}
    write(tmp_path, base=base, tune_per_cell=None, factors={"method.name": ["an", "role"]}, baseline={}, seeds=[0])
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 3, out
    told = out[out.index("4 runs failed") :]  # the lines above are those of the runs
    assert told.count("diverged: the training loss is") == 1
    assert "stopped after 0 of 4 runs" in told
    assert "Traceback" not in out
    assert trained(tmp_path) == {}
    assert not (tmp_path / "results" / "ablations" / "mine" / "report.md").exists()
    assert [each.info.status for each in mlflow_runs(tmp_path, "run")] == ["FAILED"] * 4


def test_a_method_that_lacks_something_is_refused_before_a_training(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", features=generator.random((90, 4)), labels=generator.random((90, 3)) < 0.4)
    data = {"name": "arrays", "root": "mine.npz", "observation": "single_positive"}
    factors = {"method.name": ["an", "epr"]}
    write(tmp_path, base={**GRID["base"], "data": data}, tune_per_cell=None, factors=factors, baseline={})
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 2, out
    assert "error: method 'epr' needs the expected number of positives an image: set data.expected_positives\n" in out
    assert trained(tmp_path) == {}


def test_searches_that_find_nothing_say_why_and_do_not_ask_to_be_continued(tmp_path: Path) -> None:
    rates = {"optim.lr": {"type": "categorical", "choices": [1e29, 1e30]}}
    base = {**GRID["base"], "mode": "end_to_end", "optim": {"name": "sgd"}}
    write(
        tmp_path, base=base, factors={"method.name": ["an", "bce"]}, baseline={}, seeds=[0], label_draws=[1200],
        tune_per_cell={"n_trials": 2, "search_space": rates},
    )  # fmt: skip
    for _ in range(2):
        code, out = run(tmp_path, "--grid", "mine.yaml")
        assert code == 3, out
        assert out.count("has no runs: of the 2 trials of its search none trained to its end") == 2
        assert out.count("1 x diverged: the training loss is nan") == 4
        assert "To continue" not in out
        assert "Traceback" not in out


def test_choosing_by_clean_labels_is_stamped_everywhere(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    code, out = run(
        folder, "--grid", "mine.yaml", "--set", "selection.labels=clean", "--set", "seeds=[0]",
        "--set", "label_draws=[1200]", "--set", "tune_per_cell=null", "--output-dir", "clean",
    )  # fmt: skip
    assert code == 0, out
    home = folder / "clean" / "ablations" / "mine"
    names = {file.name for file in home.iterdir() if file.is_file()}
    assert {"table-selected-on-clean.tex", "report-selected-on-clean.md", "cells-selected-on-clean.csv"} <= names
    assert "table.tex" not in names
    assert "clean" in (home / "table-selected-on-clean.tex").read_text()
    result = next((folder / "clean" / "ablations" / "runs").glob("*/result.json"))
    assert json.loads(result.read_text())["selection"]["labels"] == "clean"


def test_wrong_input_ends_at_once(tmp_path: Path) -> None:
    write(tmp_path, factors={"method.nam": ["an"]})
    began = time.monotonic()
    code, out = run(tmp_path, "--grid", "mine.yaml")
    assert code == 2
    assert "method.name" in out
    assert time.monotonic() - began < 20
    code, out = run(tmp_path, "--grid", "digits_bostlu")
    assert code == 2
    assert "digits_boostlu" in out
    assert not (tmp_path / "results").exists()


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    code, out = run(tmp_path, "--grid", "mine.yaml", "--dry-run")
    assert code == 0, out
    assert "24 trainings are left" in out  # 4 searches of 3, and 16 runs, of which 4 are chosen trials
    assert "role, batch_size=32" in out
    assert "about" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]
