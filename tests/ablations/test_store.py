"""The store of trainings: names by content, what counts as finished, one copy of files."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ablations.search import own_part
from ablations.store import Store, adopt, files_mark, finished_reports
from plml.config import TrainConfig, make_config
from plml.report import EpochReport


def config(**overrides: object) -> TrainConfig:
    return make_config({"data": {"name": "digits", "observation": "single_positive"}, "method": "an"}, overrides)


def finish(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    report = EpochReport(0, {"test/mAP": value}, 0.0, final=True)
    (folder / "metrics.jsonl").write_text(json.dumps(asdict(report)) + "\n")
    (folder / "result.json").write_text("{}")
    (folder / ".lock").write_text("")
    return folder


def test_a_run_is_named_by_what_it_computes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.run(config()) == store.run(config(device="cpu"))
    assert store.run(config()) != store.run(config(seed=1))
    assert store.run(config()).name == config().fingerprint


def test_files_elsewhere_are_other_files(tmp_path: Path) -> None:
    here, there = (config(**{"data.root": str(tmp_path / name)}) for name in ("a", "b"))
    assert here.fingerprint == there.fingerprint
    assert Store(tmp_path).run(here) != Store(tmp_path).run(there)
    assert files_mark(config()) == ""


def test_only_runs_that_trained_to_their_end_are_finished(tmp_path: Path) -> None:
    folder = finish(tmp_path / "run")
    assert finished_reports(folder) is not None
    (folder / "result.json").unlink()
    assert finished_reports(folder) is None
    assert finished_reports(tmp_path / "none") is None


def test_a_trial_becomes_a_run_without_a_second_copy(tmp_path: Path) -> None:
    trained = finish(tmp_path / "trial", 7.0)
    folder = tmp_path / "runs" / "abc"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("")  # begun, and not finished
    adopt(trained, folder)
    reports = finished_reports(folder)
    assert reports is not None
    assert reports[0].metrics == {"test/mAP": 7.0}
    assert (folder / "result.json").stat().st_ino == (trained / "result.json").stat().st_ino
    assert not (folder / ".lock").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["abc"]


def test_what_is_finished_already_stays(tmp_path: Path) -> None:
    folder = finish(tmp_path / "run", 1.0)
    adopt(finish(tmp_path / "trial", 2.0), folder)
    reports = finished_reports(folder)
    assert reports is not None
    assert reports[0].metrics == {"test/mAP": 1.0}
    (tmp_path / "unfinished").mkdir()
    adopt(tmp_path / "unfinished", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"choices": [1]}, {"choices": [1]}),
        ({"choices": [1], "when": {"method.name": "an"}}, {"choices": [1]}),
        ({"choices": [1], "when": {"method.name": ["role", "an"]}}, {"choices": [1]}),
        ({"choices": [1], "when": {"method.name": "role"}}, None),
        ({"choices": [1], "when": {"optim.name": "sgd"}}, {"choices": [1], "when": {"optim.name": "sgd"}}),
        ([{"choices": [1], "when": {"method.name": "an"}}, {"choices": [2], "when": {"method.name": "role"}}],
         {"choices": [1]}),
        ("default", "default"),
    ],
)  # fmt: skip
def test_a_cell_searches_what_belongs_to_it(entry: object, expected: object) -> None:
    space = {"optim.batch_size": entry, "optim.name": {"choices": ["sgd", "adam"]}}
    own = own_part(space, config())
    assert own.get("optim.batch_size") == expected
    assert "optim.name" in own
