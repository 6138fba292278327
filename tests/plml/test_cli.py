"""The command line as a user types it, in processes of its own."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plml.cli import DONE, FAILED, INTERRUPTED, WRONG_INPUT, main

TINY = """\
epochs: 2
method: {name: an}
data: {observation: single_positive, options: {num_train: 60, num_val: 40, num_test: 50}}
optim: {lr: 1e-3, batch_size: 16}
"""


def plml(*arguments: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plml", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and its finished run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.yaml").write_text(TINY)
    done = plml("train", "config.yaml", "-o", "run", cwd=folder)
    assert done.returncode == DONE, done.stderr
    assert re.search(r"test mAP \d+\.\d+ at epoch [01], chosen by ap_auc on observed labels", done.stdout)
    return folder


def test_help_is_quick(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = plml("--help", cwd=tmp_path)
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert "train one configuration" in done.stdout
    assert min(seconds) < 1


def test_plml_imports_neither_ray_nor_mlflow_nor_optuna() -> None:
    script = (
        "import sys, plml, plml.cli, plml.config, plml.trainer, plml.data.load, plml.commands.train, plml.tracking\n"
        "print([name for name in ('ray', 'mlflow', 'optuna') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_training_again_changes_nothing(trained: Path) -> None:
    before = (trained / "run" / "last.pt").read_bytes()
    done = plml("train", "config.yaml", "-o", "run", cwd=trained)
    assert done.returncode == DONE
    assert "test mAP" in done.stdout
    assert (trained / "run" / "last.pt").read_bytes() == before


def test_evaluate_repeats_the_test_figure(trained: Path) -> None:
    done = plml("evaluate", "run/best.pt", "--json", cwd=trained)
    assert done.returncode == DONE, done.stderr
    result = json.loads((trained / "run" / "result.json").read_text())
    found = json.loads(done.stdout)
    assert found["metrics"]["mAP"] == pytest.approx(result["metrics"]["test/mAP"], abs=1e-9)
    assert list(found["AP"]) == result["class_names"]
    table = plml("evaluate", "run/best.pt", "--split", "val", "--groups", "10", cwd=trained)
    assert "class AP" in table.stdout
    groups = re.findall(r"group \d+ mAP\s+\S+\s+([\d.]+)", table.stdout)
    aps = re.findall(r"(?:zero|one|two|three|four|five|six|seven|eight|nine)\s+\S+\s+([\d.]+)", table.stdout)
    assert sorted(groups) == sorted(aps)  # one class a group: its mean is that class's figure
    assert "zero" in table.stdout


def test_predict_gives_names_and_probabilities(trained: Path) -> None:
    photos = trained / "photos"
    photos.mkdir(exist_ok=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (50, 70), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    table = plml("predict", "run/best.pt", "photos", "--top", "2", cwd=trained)
    assert table.returncode == DONE, table.stderr
    assert table.stdout.count(".png") == 3
    lines = plml("predict", "run/best.pt", "photos", "--json", cwd=trained).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 3
    assert all(0 <= p <= 1 for row in rows for p in row["probabilities"].values())
    assert len(rows[0]["probabilities"]) == 10
    text = plml("predict", "run/best.pt", "photos/1.png", "--csv", cwd=trained).stdout
    (line,) = csv.DictReader(io.StringIO(text))
    assert {k: float(v) for k, v in line.items() if k != "image"} == rows[1]["probabilities"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "confg.yaml"], "did you mean"),
        (["train", "config.yaml", "optim.lrr=1"], "unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        (["train", "config.yaml", "optim.lr"], "must be path=value"),
        (["train", "config.yaml", "device=cuda:99"], "device: 'cuda:99'"),
        (["train", "config.yaml", "--tracking-uri", "mlruns"], "sqlite:////"),
        (["train", "config.yaml", "-o", "config.yaml"], "config.yaml: File exists (EEXIST)"),
        (["train", "config.yaml", "-o", "config.yaml/run"], "config.yaml/run: Not a directory (ENOTDIR)"),
        (["evaluate", "run/best.pt", "--groups", "0"], "--groups must be at least 1, got 0"),
        (["evaluate", "run/none.pt"], "is not a file"),
        (["evaluate", "config.yaml"], "is no checkpoint"),
        (["predict", "run/best.pt", "none.jpg"], "neither an image file nor a folder"),
        (["predict", "run/best.pt", "config.yaml"], "config.yaml"),
    ],
)
def test_wrong_input_exits_2_with_one_clear_line(
    trained: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(trained)
    assert main(arguments) == WRONG_INPUT
    assert message in capsys.readouterr().err


def test_ctrl_c_saves_and_says_how_to_go_on(trained: Path) -> None:
    command = [sys.executable, "-m", "plml", "train", "config.yaml", "epochs=500", "-o", "long"]
    process = subprocess.Popen(command, cwd=trained, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (trained / "long" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "the same command goes on from there" in output
    epochs = len((trained / "long" / "metrics.jsonl").read_text().splitlines())
    assert 1 <= epochs < 500
    resumed = subprocess.Popen(command, cwd=trained, stdout=subprocess.PIPE, text=True)
    while len((trained / "long" / "metrics.jsonl").read_text().splitlines()) <= epochs:
        time.sleep(0.05)
    os.kill(resumed.pid, signal.SIGTERM)
    output, _ = resumed.communicate(timeout=60)
    assert resumed.returncode == INTERRUPTED
    assert f"going on after epoch {epochs - 1}" in output


@pytest.mark.parametrize("listing", ["methods", "datasets", "settings"])
def test_listings(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([listing, "--json"]) == DONE
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all({"name"} < set(row) for row in rows)
    assert main([listing]) == DONE
    assert rows[0]["name"] in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # between MLflow and SQLAlchemy
def test_tracked_training_is_complete(trained: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{trained}/mlflow.db"
    done = plml("train", "config.yaml", "method=imcl_identity", "-o", "tracked", "--tracking-uri", uri, cwd=trained)
    assert done.returncode == DONE, done.stderr
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("plml/digits")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.001"
    assert run.data.tags["plml.selection_clean"] == "false"
    [data] = run.inputs.dataset_inputs
    assert (data.dataset.name, data.tags[0].value) == ("digits", run.data.params["data.observation.name"])
    result = json.loads((trained / "tracked" / "result.json").read_text())
    assert run.data.metrics["test/mAP"] == result["metrics"]["test/mAP"]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "val/mAP")] == [0, 1]
    pictures = client.list_artifacts(run.info.run_id, "matrices")
    assert [file.path for file in pictures] == ["matrices/graph_0000.png", "matrices/graph_0001.png"]


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import plml.trainer
from plml.cli import main
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30,) * 2)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_memory_that_runs_out_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("method: an\ndata: {options: {num_train: 1000000, canvas: 256}}\n")  # 61 GiB
    command = [sys.executable, "-c", LITTLE_MEMORY, "train", "config.yaml", "-o", "run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == FAILED
    assert done.stderr.startswith("error: memory ran out (Unable to allocate")
    assert done.stderr.count("\n") == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["error", "end"]
    assert events[-1]["exit_code"] == FAILED
