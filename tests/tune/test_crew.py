"""A crew trains many trials at once: each gets what it gets alone, and one in trouble does not trouble the others."""

import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from plml.checkpoint import load_checkpoint
from plml.config import make_config
from plml.population import Population
from tune import crew
from tune.crew import Orders, run_crew
from tune.trainable import Task, TrialReport, run_task
from tune.trial_runs import read_reports

BASE: dict[str, Any] = {
    "mode": "linear",
    "epochs": 3,
    "method": "an",
    "device": "cpu",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 80, "num_val": 40, "num_test": 40},
    },
    "stopping": {"rule": "patience", "patience": 9},
    "optim": {"lr": 3e-3},
}
WILD = {"optim.lr": 1e60, "optim.name": "sgd"}  # weights overflow in the first epoch


def task_of(
    folder: Path, key: str, *, seeds: tuple[int, ...] = (), metric: str = "selection/best", **changes: Any
) -> Task:
    tree = make_config(BASE, {path.replace("__", "."): value for path, value in changes.items()}).tree()
    return Task(tree, str(folder / key), seeds=seeds, metric=metric, key=key)


class StoppedError(BaseException):
    """Stands for the SystemExit by which Tune ends a worker inside ``report``."""


class Driver:
    """Answers a crew by the number of the report, and remembers what it was told."""

    def __init__(self, orders: dict[int, Orders | BaseException] | None = None) -> None:
        self.orders = orders or {}
        self.told: list[list[TrialReport]] = []

    def __call__(self, told: list[TrialReport]) -> Orders:
        self.told.append(told)
        answer = self.orders.get(len(self.told) - 1, Orders())
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def of(self, key: str) -> list[TrialReport]:
        return [one for told in self.told for one in told if one.key == key]

    def outcomes(self) -> dict[str, str]:
        return {one.key: one.outcome for told in self.told for one in told}


def train(tasks: list[Task], orders: dict[int, Orders | BaseException] | None = None) -> Driver:
    driver = Driver(orders)
    run_crew(tasks, driver)
    return driver


def assert_as_alone(driver: Driver, task: Task, alone: Path) -> None:
    """Compare what the driver was told, and what is on disk, with the trial trained alone."""
    told: list[TrialReport] = []
    run_task(Task(**{**vars(task), "folder": str(alone / task.key)}), told.append)
    mine = driver.of(task.key)
    curve = [pair for one in mine for pair in (*one.earlier, (one.epoch, one.objective))]
    assert [epoch for epoch, _ in curve] == [one.epoch for one in told]
    assert [value for _, value in curve] == pytest.approx([one.objective for one in told], abs=1e-6)
    assert mine[-1].outcome == told[-1].outcome == "complete"
    same_curves(Path(task.folder), alone / task.key)


def same_curves(folder: Path, other: Path) -> None:
    reports, others = read_reports(folder), read_reports(other)
    assert [report.epoch for report in reports] == [report.epoch for report in others]
    for one, two in zip(reports, others, strict=True):
        assert one.metrics.keys() == two.metrics.keys()
        for name in ("train/loss", "val/mAP", "selection/value"):
            assert one.metrics[name] == pytest.approx(two.metrics[name], rel=1e-5)
    assert reports[-1].final


def test_every_member_gets_what_it_gets_alone(tmp_path: Path) -> None:
    tasks = [
        task_of(tmp_path, "a"),
        task_of(tmp_path, "b", optim__lr=3e-2),
        task_of(tmp_path, "c", method="role"),  # three kinds
        task_of(tmp_path, "d", seed=5),
        task_of(tmp_path, "e", optim__batch_size=8),
    ]
    driver = train(tasks)
    assert len(driver.told) == 3  # one report an epoch, for everybody
    assert [sorted(one.key for one in told) for told in driver.told] == [list("abcde")] * 3
    for task in tasks:
        assert_as_alone(driver, task, tmp_path / "alone")


def test_members_with_several_seeds(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, "a", seeds=(3, 4)), task_of(tmp_path, "b", seeds=(3, 4), optim__lr=0.03)]
    driver = train(tasks)
    for task in tasks:
        assert_as_alone(driver, task, tmp_path / "alone")
        for seed in (3, 4):
            same_curves(Path(task.folder) / f"seed_{seed}", tmp_path / "alone" / task.key / f"seed_{seed}")


def test_who_is_stopped_leaves_a_record_and_the_others_go_on(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("abc")]
    driver = train(tasks, {0: Orders(stop=["b", "of nobody"])})
    assert [one.epoch for one in driver.of("b")] == [0]
    assert load_checkpoint(tmp_path / "b" / "last.pt")["epoch"] == 1
    for task in (tasks[0], tasks[2]):
        assert_as_alone(driver, task, tmp_path / "alone")
    again: list[TrialReport] = []
    run_task(tasks[1], again.append)  # promotion goes on with a trial that was stopped
    assert [one.epoch for one in again] == [1, 2]


def test_new_trials_are_taken_in(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("abcdef")]
    orders = {0: Orders(stop=["a"], start=tasks[2:4]), 2: Orders(start=tasks[4:])}
    driver = train(tasks[:2], orders)
    assert len(driver.told) == 6  # e and f began after the third report
    for task in tasks[1:]:
        assert_as_alone(driver, task, tmp_path / "alone")


def test_the_last_one_may_be_followed_by_another(tmp_path: Path) -> None:
    first, second = task_of(tmp_path, "a"), task_of(tmp_path, "b", seed=1)
    driver = train([first], {2: Orders(start=[second])})
    for task in (first, second):
        assert_as_alone(driver, task, tmp_path / "alone")


def test_smaller_may_be_better(tmp_path: Path) -> None:
    task = Task(**{**vars(task_of(tmp_path, "a", metric="val/ranking_loss")), "mode": "min"})
    values = [one.objective or math.nan for one in train([task]).of("a")]
    assert values == sorted(values, reverse=True)
    assert values[-1] == min(report.metrics["val/ranking_loss"] for report in read_reports(tmp_path / "a"))


# -- coming back ------------------------------------------------------------------------------------------


def test_a_crew_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, "a"), task_of(tmp_path, "b", seeds=(1, 2)), task_of(tmp_path, "c", method="role")]
    cut = Driver({1: StoppedError()})
    with pytest.raises(StoppedError):
        run_crew(tasks, cut)
    assert not list(tmp_path.glob("*/error.json"))
    for folder in ("a", "b/seed_1", "b/seed_2", "c"):
        assert load_checkpoint(tmp_path / folder / "last.pt")["epoch"] == 2
    driver = train(tasks)
    assert len(driver.told) == 1
    assert [len(one.earlier) for one in driver.told[0]] == [2, 2, 2]  # the driver may have lost them
    for task in tasks:
        assert_as_alone(driver, task, tmp_path / "alone")


def test_a_complete_trial_tells_again_and_trains_nothing(tmp_path: Path) -> None:
    done, fresh = task_of(tmp_path, "a"), task_of(tmp_path, "b", seed=1)
    train([done])
    stamp = (tmp_path / "a" / "last.pt").stat().st_mtime_ns
    driver = train([done, fresh])
    [again] = driver.of("a")
    assert (again.outcome, again.epoch, len(again.earlier)) == ("complete", 2, 2)
    assert (tmp_path / "a" / "last.pt").stat().st_mtime_ns == stamp
    assert driver.outcomes()["b"] == "complete"


def test_trouble_of_the_process_is_noted_for_everybody_and_no_half_epoch_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [task_of(tmp_path, "a"), task_of(tmp_path, "b", seed=1)]
    real, calls = Population._train, []

    def break_off(self: Population, members: Any) -> torch.Tensor:
        losses = real(self, members)
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the device is lost")
        return losses

    with monkeypatch.context() as context:
        context.setattr(Population, "_train", break_off)
        with pytest.raises(RuntimeError, match="the device is lost"):
            train(tasks)
    for task in tasks:
        assert "the device is lost" in (Path(task.folder) / "error.json").read_text()
    driver = train(tasks)
    for task in tasks:
        assert_as_alone(driver, task, tmp_path / "alone")
        assert not (Path(task.folder) / "error.json").exists()


# -- members in trouble -----------------------------------------------------------------------------------


def test_a_member_that_diverges(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, "a", **{"optim.name": "sgd"}), task_of(tmp_path, "b", **WILD)]
    driver = train(tasks)
    assert driver.of("b")[-1].outcome == "diverged"
    assert "epoch" in driver.of("b")[-1].detail
    assert not (tmp_path / "b" / "last.pt").exists()  # no record of weights that are not finite
    assert_as_alone(driver, tasks[0], tmp_path / "alone")


def test_one_seed_that_diverges_ends_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task_of(tmp_path, "a", seeds=(1, 2), **WILD), task_of(tmp_path, "b", **{"optim.name": "sgd"})]
    driver = train(tasks)
    assert [one.outcome for one in driver.of("a")] == ["diverged"]
    assert driver.of("b")[-1].outcome == "complete"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("abc")]
    (tmp_path / "b").write_text("in the way")
    driver = train(tasks)
    assert driver.outcomes() == {"a": "complete", "b": "broken", "c": "complete"}
    assert "FileExistsError" in driver.of("b")[0].detail


def put_in_the_way(folder: Path) -> None:
    """Make folders where records are to be written; on a slow machine the first record is there already."""
    for name in ("last.pt", "previous.pt"):
        if (folder / name).is_file():
            (folder / name).unlink()
        (folder / name / "not empty").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("seeds", [(), (1, 2)])
def test_a_folder_that_takes_no_record(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    tasks = [task_of(tmp_path, key, seeds=seeds, optim__lr=0.001 * (1 + i)) for i, key in enumerate("abc")]
    part = "seed_2" if seeds else "."

    class InTheWay(Driver):
        def __call__(self, told: list[TrialReport]) -> Orders:
            put_in_the_way(tmp_path / "b" / part)
            return super().__call__(told)

    driver = InTheWay()
    run_crew(tasks, driver)
    assert driver.outcomes() == {"a": "complete", "b": "broken", "c": "complete"}
    assert "Directory not empty" in driver.of("b")[-1].detail
    assert "Directory not empty" in (tmp_path / "b" / "error.json").read_text()
    for task in (tasks[0], tasks[2]):
        assert_as_alone(driver, task, tmp_path / "alone")


def test_a_stopped_member_whose_record_cannot_be_written_troubles_nobody(tmp_path: Path) -> None:
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("ab")]

    class InTheWay(Driver):
        def __call__(self, told: list[TrialReport]) -> Orders:
            put_in_the_way(tmp_path / "a")
            return super().__call__(told)

    driver = InTheWay({0: Orders(stop=["a"])})
    run_crew(tasks, driver)
    assert driver.outcomes() == {"a": "running", "b": "complete"}


def test_wrong_data_is_rejected_with_its_reason(tmp_path: Path) -> None:
    wrong = task_of(tmp_path, "a")
    tree = {**wrong.tree, "data": {"name": "voc2007", "root": str(tmp_path / "nowhere")}}
    driver = train([Task(**{**vars(wrong), "tree": tree}), task_of(tmp_path, "b")])
    assert driver.outcomes() == {"a": "rejected", "b": "complete"}
    assert "nowhere" in driver.of("a")[0].detail


def test_a_metric_that_a_method_does_not_report(tmp_path: Path) -> None:
    metric = "train/est_labels_k_hat"
    driver = train([task_of(tmp_path, "a", metric=metric), task_of(tmp_path, "b", metric=metric, method="role")])
    assert driver.outcomes() == {"a": "rejected", "b": "complete"}
    assert "objective.metric" in driver.of("a")[0].detail


def test_features_that_do_not_fit_are_trained_on_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plml.data.resident.RESIDENT_BYTES", 100)
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("abc")]
    wild = task_of(tmp_path, "wild", **WILD)
    driver = train([*tasks, wild], {0: Orders(stop=["b"])})
    assert driver.outcomes() == {"a": "complete", "b": "running", "c": "complete", "wild": "diverged"}
    assert load_checkpoint(tmp_path / "b" / "last.pt")["epoch"] == 1
    for task in (tasks[0], tasks[2]):
        assert_as_alone(driver, task, tmp_path / "alone")


# -- memory -----------------------------------------------------------------------------------------------


def too_small(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let an epoch of more than ``most`` runs end halfway for want of memory; return how many runs epochs had."""
    real, sizes, gone = Population._train, [], []

    def starve(self: Population, members: dict[int, Any]) -> torch.Tensor:
        sizes.append(len(members))
        losses = real(self, members)
        if len(members) > most:
            gone.append(weakref.ref(self))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return losses

    free = crew.release_memory

    def check() -> None:
        free()
        assert [one() for one in gone] == [None] * len(gone)  # or its memory would not come free

    monkeypatch.setattr(Population, "_train", starve)
    monkeypatch.setattr(crew, "release_memory", check)
    return sizes


def test_memory_that_does_not_do_for_all_does_for_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task_of(tmp_path, key, optim__lr=0.01 * (1 + place)) for place, key in enumerate("abcde")]
    late = task_of(tmp_path, "late", optim__lr=0.09)
    with monkeypatch.context() as context:
        sizes = too_small(context, most=2)
        driver = train(tasks, {1: Orders(start=[late])})
    assert sizes[:4] == [5, 2, 2, 1]
    assert max(sizes[1:]) == 2  # who comes later finds no larger population
    for task in (*tasks, late):
        assert_as_alone(driver, task, tmp_path / "alone")


def test_halves_of_trials_with_several_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task_of(tmp_path, "a", seeds=(1, 2, 3)), task_of(tmp_path, "b", seeds=(1, 2, 3), optim__lr=0.03)]
    with monkeypatch.context() as context:
        sizes = too_small(context, most=1)
        driver = train(tasks)
    assert max(sizes[-9:]) == 1
    for task in tasks:
        assert_as_alone(driver, task, tmp_path / "alone")


def test_slabs_that_do_not_fit_are_made_for_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task_of(tmp_path, key, seed=seed) for seed, key in enumerate("abcd")]
    late = [task_of(tmp_path, key, seed=9 + place) for place, key in enumerate("ef")]
    real: Callable[..., None] = Population._make_room

    def starve(self: Population, slots: int, like: Any) -> None:
        if slots > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(self, slots, like)

    with monkeypatch.context() as context:
        context.setattr(Population, "_make_room", starve)
        driver = train(tasks, {0: Orders(start=late)})
        joined = train(  # here it is the one who joins for whom there is no room
            [task_of(tmp_path, key, seed=seed) for seed, key in enumerate(("g", "h"))],
            {0: Orders(start=[task_of(tmp_path, "i", seed=7)])},
        )
    for task in (*tasks, *late):
        assert_as_alone(driver, task, tmp_path / "alone")
    assert joined.outcomes() == {"g": "complete", "h": "complete", "i": "complete"}
    assert [one.epoch for one in joined.of("g")] == [0, 1, 2]


def test_memory_that_does_not_do_for_one_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        too_small(context, most=0)
        driver = train([task_of(tmp_path, "a"), task_of(tmp_path, "b", seed=1)])
    assert driver.outcomes() == {"a": "out_of_memory", "b": "out_of_memory"}
    assert "2.00 GiB" in driver.of("a")[0].detail
    assert train([task_of(tmp_path, "a")]).outcomes() == {"a": "complete"}
