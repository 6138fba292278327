"""Training that really goes wrong ends with its reason, and what was finished before stays as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml.checkpoint import load_array, load_checkpoint
from plml.config import make_config
from plml.data.bundle import Bundle
from plml.errors import DivergenceError
from plml.pace import Pace
from plml.report_log import read_reports
from plml.trainer import Trainer
from tune import trainable
from tune.crew import Orders, run_crew
from tune.trainable import Task, TrialReport, cached_bundle, run_task

BASE: dict[str, Any] = {
    "mode": "linear",
    "epochs": 8,
    "method": "an",
    "device": "cpu",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 60, "num_val": 30, "num_test": 30},
    },
}
WEIGHT_DECAY = {"optim.name": "sgd", "optim.lr": 1e3, "optim.weight_decay": 1.0}  # grows thousandfold in every step


@pytest.fixture(autouse=True)
def _recorded_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, seconds: True)


def task_of(folder: Path, key: str = "", **changes: Any) -> Task:
    return Task(make_config(BASE, {"optim.batch_size": 30, **changes}).tree(), str(folder / key), key=key)


def assert_intact(folder: Path, epochs: int) -> None:
    """What finished epochs left behind is there and finite; nothing is told of the one that went wrong."""
    assert [report.epoch for report in read_reports(folder)] == list(range(epochs))
    assert all(np.isfinite(list(report.metrics.values())).all() for report in read_reports(folder))
    for epoch in range(epochs):
        assert np.isfinite(load_array(folder / "scores" / f"val_{epoch:04d}.npy")).all()
    for name in ("last.pt", "best.pt"):
        content = load_checkpoint(folder / name)
        assert all(torch.isfinite(value).all() for value in content["model"].values() if value.is_floating_point())
    assert load_checkpoint(folder / "last.pt")["epoch"] == epochs


def test_gradients_that_explode_after_a_few_epochs(tmp_path: Path) -> None:
    told: list[TrialReport] = []
    run_task(task_of(tmp_path, **WEIGHT_DECAY), told.append)
    assert told[-1].outcome == "diverged"
    finished = len(told) - 1
    assert 2 <= finished < 8
    assert f"in epoch {finished}" in told[-1].detail
    assert_intact(tmp_path, finished)
    again: list[TrialReport] = []
    run_task(task_of(tmp_path, **WEIGHT_DECAY), again.append)  # the same end, and nothing told twice
    assert [one.outcome for one in again] == ["diverged"]
    assert_intact(tmp_path, finished)


def test_a_member_of_a_crew_whose_gradients_explode(tmp_path: Path) -> None:
    told: list[TrialReport] = []
    tame = {"optim.name": "sgd", "optim.lr": 0.01}
    tasks = [task_of(tmp_path, "wild", **WEIGHT_DECAY), task_of(tmp_path, "tame", **tame)]
    run_crew(tasks, lambda news: told.extend(news) or Orders())  # type: ignore[func-returns-value]
    ends = {one.key: one.outcome for one in told}
    assert ends == {"wild": "diverged", "tame": "complete"}
    assert_intact(tmp_path / "wild", sum(one.key == "wild" for one in told) - 1)


@pytest.mark.parametrize(("part", "what"), [("train", "training loss is nan"), ("val", "validation scores")])
def test_features_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, what: str) -> None:
    task = task_of(tmp_path)
    config = make_config(task.tree)
    bundle = cached_bundle(config)
    split = getattr(bundle, part)
    array = np.array(split.array)
    array[3, :4] = np.inf
    broken: Bundle = replace(bundle, **{part: replace(split, array=array)})
    with pytest.raises(DivergenceError, match=what):
        list(Trainer(config, broken, tmp_path / "alone").epochs())
    monkeypatch.setattr(trainable, "cached_bundle", lambda _: broken)
    told: list[TrialReport] = []
    run_task(task, told.append)
    assert [one.outcome for one in told] == ["diverged"]
    assert what in told[0].detail
    assert not (tmp_path / "last.pt").exists()
