"""What a worker does with a task: trains, resumes, tells again, and turns breakdowns into outcomes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plml.config import make_config
from plml.errors import DataError, DivergenceError
from plml.trainer import Trainer
from tune import trainable
from tune.trainable import Task, TrialReport, cached_bundle, run_task
from tune.trial_runs import read_reports

BASE: dict[str, Any] = {
    "epochs": 3,
    "method": "an",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 120, "num_val": 60, "num_test": 60},
    },
    "stopping": {"rule": "patience", "patience": 9},
    "optim": {"lr": 3e-3},
}


def task_of(folder: Path, **changes: Any) -> Task:
    return replace(Task(tree=make_config(BASE).tree(), folder=str(folder)), **changes)


def run(task: Task) -> list[TrialReport]:
    told: list[TrialReport] = []
    run_task(task, told.append)
    return told


class StoppedError(BaseException):
    """Stands for the SystemExit by which Tune ends a trial inside ``report``."""


def run_until(task: Task, epoch: int) -> None:
    def report(told: TrialReport) -> None:
        if told.epoch == epoch:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_task(task, report)


def test_a_trial_reports_the_running_best_of_each_epoch(tmp_path: Path) -> None:
    told = run(task_of(tmp_path))
    assert [(t.outcome, t.epoch) for t in told] == [("running", 0), ("running", 1), ("complete", 2)]
    values = [report.metrics["selection/value"] for report in read_reports(tmp_path)]
    assert [t.objective for t in told] == [max(values[: place + 1]) for place in range(3)]
    assert all(t.earlier == [] for t in told)


def test_smaller_may_be_better(tmp_path: Path) -> None:
    told = run(task_of(tmp_path, metric="val/ranking_loss", mode="min"))
    values = [report.metrics["val/ranking_loss"] for report in read_reports(tmp_path)]
    assert [t.objective for t in told] == [min(values[: place + 1]) for place in range(3)]


def test_an_interrupted_trial_goes_on_and_tells_what_came_before(tmp_path: Path) -> None:
    straight = run(task_of(tmp_path / "straight"))
    run_until(task_of(tmp_path / "cut"), epoch=1)
    told = run(task_of(tmp_path / "cut"))
    assert [t.epoch for t in told] == [2]
    assert told[0].earlier == [(t.epoch, t.objective) for t in straight[:2]]
    assert told[0].objective == straight[2].objective


def test_a_complete_trial_tells_again_and_trains_nothing(tmp_path: Path) -> None:
    first = run(task_of(tmp_path))
    stamp = (tmp_path / "last.pt").stat().st_mtime_ns
    [again] = run(task_of(tmp_path))
    assert (again.outcome, again.epoch, again.objective) == ("complete", 2, first[-1].objective)
    assert len(again.earlier) == 2
    assert (tmp_path / "last.pt").stat().st_mtime_ns == stamp


def broken(monkeypatch: pytest.MonkeyPatch, errors: list[BaseException]) -> list[int]:
    """Let training raise the given errors, one at each attempt, then train as usual."""
    calls: list[int] = []
    real = Trainer.epochs

    def epochs(self: Trainer) -> Iterator[Any]:
        calls.append(1)
        if errors:
            raise errors.pop(0)
        yield from real(self)

    monkeypatch.setattr(Trainer, "epochs", epochs)
    monkeypatch.setattr(trainable, "SECOND_TRY_S", 0.0)
    return calls


def test_divergence_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, [DivergenceError("the training loss is nan")])
    assert run(task_of(tmp_path)) == [TrialReport("diverged", detail="the training loss is nan")]


def test_a_real_divergence_is_recognised(tmp_path: Path) -> None:
    tree = make_config(BASE, {"optim.lr": 1e30, "optim.name": "sgd"}).tree()
    assert run(task_of(tmp_path, tree=tree))[-1].outcome == "diverged"


def test_wrong_data_is_rejected_with_its_reason(tmp_path: Path) -> None:
    tree = {**make_config(BASE).tree(), "data": {"name": "voc2007", "root": str(tmp_path / "nowhere")}}
    [told] = run(task_of(tmp_path / "run", tree=tree))
    assert told.outcome == "rejected"
    assert "nowhere" in told.detail
    assert told.detail.startswith(DataError.__name__)


def test_memory_gets_a_second_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = broken(monkeypatch, [torch.cuda.OutOfMemoryError("CUDA out of memory")])
    assert run(task_of(tmp_path))[-1].outcome == "complete"
    assert len(calls) == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
)
def test_no_memory_twice_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    broken(monkeypatch, [error, error])
    assert [told.outcome for told in run(task_of(tmp_path))] == ["out_of_memory"]


def test_other_trouble_is_raised_and_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch, [OSError("no space left on device")])
    with pytest.raises(OSError, match="no space left"):
        run(task_of(tmp_path))
    assert "no space left" in (tmp_path / "error.json").read_text()
    assert run(task_of(tmp_path))[-1].outcome == "complete"
    assert not (tmp_path / "error.json").exists()


def test_seeds_train_in_lockstep_and_their_figures_are_means(tmp_path: Path) -> None:
    told = run(task_of(tmp_path / "both", seeds=(3, 4)))
    assert [(t.outcome, t.epoch) for t in told] == [("running", 0), ("running", 1), ("complete", 2)]
    alone = []
    for seed in (3, 4):
        tree = make_config(BASE, {"seed": seed}).tree()
        run(task_of(tmp_path / str(seed), tree=tree))
        alone.append(read_reports(tmp_path / str(seed)))
    for place, both in enumerate(read_reports(tmp_path / "both")):
        for name in ("val/mAP", "selection/best", "train/loss"):
            expected = sum(reports[place].metrics[name] for reports in alone) / 2
            assert both.metrics[name] == pytest.approx(expected, abs=1e-9)
    assert "test/mAP" in read_reports(tmp_path / "both")[-1].metrics


def test_seeds_resume_even_if_one_is_ahead(tmp_path: Path) -> None:
    straight = run(task_of(tmp_path / "straight", seeds=(3, 4)))
    cut = task_of(tmp_path / "cut", seeds=(3, 4))
    run_until(cut, epoch=0)
    ahead = trainable.open_run(cut, tmp_path / "cut").trainers[0]  # type: ignore[union-attr]
    next(ahead.epochs())
    told = run(cut)
    assert [t.epoch for t in told] == [1, 2]
    assert told[0].earlier == [(0, straight[0].objective)]
    assert [t.objective for t in told] == pytest.approx([t.objective for t in straight[1:]], abs=1e-9)
    [again] = run(cut)
    assert (again.outcome, again.objective) == ("complete", told[-1].objective)


def test_data_is_loaded_once_for_trials_that_read_the_same() -> None:
    config = make_config(BASE)
    other = make_config(BASE, {"optim.lr": 1e-4, "seed": 7})
    assert cached_bundle(config) is cached_bundle(other)
    assert cached_bundle(config) is not cached_bundle(make_config(BASE, {"data.observation_seed": 7}))


def test_a_damaged_line_of_metrics_is_left_out(tmp_path: Path) -> None:
    run(task_of(tmp_path))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "met')
    assert [report.epoch for report in read_reports(tmp_path)] == [0, 1, 2]
    assert read_reports(tmp_path / "nowhere") == []
