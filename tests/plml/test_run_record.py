"""What a run leaves behind survives: a kill at any step of writing, and damage to any of its files."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plml.checkpoint import load_checkpoint, save_checkpoint
from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle
from plml.data.load import load_bundle
from plml.errors import CheckpointError, DamagedError
from plml.pace import Pace
from plml.report import EpochReport
from plml.report_log import read_reports
from plml.stored_runs import read_stored_run
from plml.trainer import Trainer

CONFIG = make_config(
    {
        "mode": "linear",
        "epochs": 5,
        "method": "role",
        "device": "cpu",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 60, "num_val": 30, "num_test": 30},
        },
        "optim": {"lr": 3e-3, "batch_size": 32},
        "seed": 2,
    }
)
FILES = ("last.pt", "previous.pt", "best.pt", "best.previous.pt")
SOME = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(SOME, max_examples=30)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Features of another seed: with these the best epoch changes twice and is not the last one."""
    return load_bundle(CONFIG.model_copy(update={"seed": 0}), device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def _recorded_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, seconds: True)


def train(bundle: Bundle, folder: Path, stop_after: int | None = None, config: TrainConfig = CONFIG) -> Trainer:
    trainer = Trainer(config, bundle, folder)
    for count, _ in enumerate(trainer.epochs(), start=1):
        if count == stop_after:
            break
    return trainer


@pytest.fixture(scope="module")
def whole(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to; the best epoch is not the last one, and not the first."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "due", lambda self, seconds: True)
        train(bundle, folder)
    return folder


@pytest.fixture(scope="module")
def cuts(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of runs that were stopped after 1, 2, ... 5 epochs."""
    parent = tmp_path_factory.mktemp("cuts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "due", lambda self, seconds: True)
        for count in range(1, 6):
            train(bundle, parent / str(count), stop_after=count)
    return [parent / str(count) for count in range(1, 6)]


def fresh_copy(folder: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


def figures(history: list[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in report.metrics.items() if not k.startswith("time/")} for report in history]


def assert_same_end(folder: Path, whole: Path) -> None:
    """Every file says the same, and nothing else lies about."""
    assert figures(read_reports(folder)) == figures(read_reports(whole))
    assert (folder / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    assert (folder / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()
    for name in ("last.pt", "best.pt"):
        a, b = (load_checkpoint(place / name) for place in (folder, whole))
        assert a["epoch"] == b["epoch"]
        assert a.get("best_epoch") == b.get("best_epoch")
        for part in ("model", "method"):
            assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    scores = [{p.name: p.read_bytes() for p in (place / "scores").glob("*.npy")} for place in (folder, whole)]
    assert scores[0] == scores[1]
    assert not list(folder.rglob(".*.tmp"))
    assert not (folder / "best.pt.next").exists()


def test_two_records_and_their_weights_are_kept(whole: Path, cuts: list[Path]) -> None:
    bests = [load_checkpoint(cut / "best.pt")["epoch"] for cut in cuts]
    assert bests == [0, 1, 1, 3, 3]  # by these the tests below have something to lose
    for count, cut in enumerate(cuts, start=1):
        assert load_checkpoint(cut / "last.pt")["epoch"] == count
        if count > 1:
            before = load_checkpoint(cut / "previous.pt")
            assert (before["epoch"], before["best_epoch"]) == (count - 1, bests[count - 2])
        improved = count > 1 and bests[count - 1] != bests[count - 2]
        assert (cut / "best.previous.pt").exists() == improved
        if improved:
            assert load_checkpoint(cut / "best.previous.pt")["epoch"] == bests[count - 2]


# -- kills ------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the process."""


class Death:
    """Ends the process at the given system call of those that make files durable, and all that it tries after it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left <= 0:
                raise KilledError
            return real(*args, **options)

        return call


def train_until_death(bundle: Bundle, folder: Path, at: int) -> bool:
    """Train; return whether the process died."""
    death = Death(at)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "fsync", "unlink"):
            patch.setattr(os, name, death(getattr(os, name)))
        try:
            train(bundle, folder)
        except KilledError:
            return True
    return False


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.chaos)])
def test_killed_at_any_step_of_writing(tmp_path: Path, bundle: Bundle, whole: Path, stride: int) -> None:
    at = 1
    while True:
        at += stride
        if not train_until_death(bundle, tmp_path / str(at), at):
            break
        train(bundle, tmp_path / str(at))
        assert_same_end(tmp_path / str(at), whole)
        assert not (tmp_path / str(at) / "damaged").exists()
    assert at > 40
    assert_same_end(tmp_path / str(at), whole)


@pytest.mark.chaos
@given(deaths=st.lists(st.integers(1, 40), min_size=2, max_size=5))
@MANY
def test_killed_again_and_again(tmp_path: Path, bundle: Bundle, whole: Path, deaths: list[int]) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    for at in deaths:
        train_until_death(bundle, tmp_path / "run", at)
    train(bundle, tmp_path / "run")
    assert_same_end(tmp_path / "run", whole)
    assert not (tmp_path / "run" / "damaged").exists()


@pytest.mark.chaos
@given(at=st.integers(1, 60), lost=st.sets(st.sampled_from(FILES), min_size=1))
@MANY
def test_killed_and_damaged(tmp_path: Path, bundle: Bundle, whole: Path, at: int, lost: set[str]) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    train_until_death(bundle, tmp_path / "run", at)
    for name in lost:
        if (tmp_path / "run" / name).exists():
            damage(tmp_path / "run" / name, 0.5, flip=True)
    train(bundle, tmp_path / "run")
    assert_same_end(tmp_path / "run", whole)


# -- damage -----------------------------------------------------------------------------------------------


def damage(file: Path, where: float, *, flip: bool) -> bytes:
    """Flip a bit of a file, or cut it off, at a place in [0, 1) of it; return what it is now."""
    content = bytearray(file.read_bytes())
    place = int(where * len(content))
    if flip:
        content[place] ^= 16
    else:
        del content[place:]
    file.write_bytes(content)
    return bytes(content)


PLACES = st.floats(0, 1, exclude_max=True)


@given(count=st.integers(2, 5), where=PLACES, flip=st.booleans())
@SOME
def test_a_damaged_record_falls_back_to_the_one_before(
    tmp_path: Path, bundle: Bundle, whole: Path, cuts: list[Path], count: int, where: float, flip: bool
) -> None:
    folder = fresh_copy(cuts[count - 1], tmp_path / "run")
    told = (folder / "metrics.jsonl").read_text().splitlines()
    garbled = damage(folder / "last.pt", where, flip=flip)
    trainer = Trainer(CONFIG, bundle, folder)
    assert trainer.epoch == count - 1
    train(bundle, folder)
    assert_same_end(folder, whole)
    assert (folder / "metrics.jsonl").read_text().splitlines()[:count] == told  # stamps and all
    assert [p.read_bytes() for p in (folder / "damaged").iterdir()] == [garbled]


@pytest.mark.chaos
@given(count=st.integers(1, 5), lost=st.sets(st.sampled_from(FILES), min_size=1), where=PLACES, flip=st.booleans())
@MANY
def test_whatever_is_damaged_the_end_is_the_same(
    tmp_path: Path, bundle: Bundle, whole: Path, cuts: list[Path], count: int, lost: set[str], where: float, flip: bool
) -> None:
    folder = fresh_copy(cuts[count - 1], tmp_path / "run")
    contents = {name: damage(folder / name, where, flip=flip) for name in sorted(lost) if (folder / name).exists()}
    garbled = {content for name, content in contents.items() if name != "previous.pt"}
    train(bundle, folder)
    assert_same_end(folder, whole)
    kept = {p.read_bytes() for p in (folder / "damaged").iterdir()} if garbled else set()
    assert garbled <= kept  # nothing is deleted; what the run never came to need is written over in time


def test_the_warning_names_file_and_reason(
    tmp_path: Path, bundle: Bundle, cuts: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = fresh_copy(cuts[3], tmp_path / "run")
    damage(folder / "last.pt", 0.5, flip=True)
    with caplog.at_level(logging.WARNING, "plml"):
        assert Trainer(CONFIG, bundle, folder).epoch == 3
    assert f"{folder / 'last.pt'} is damaged" in caplog.text
    assert "its content does not agree with its digest; the run goes on from the record before it" in caplog.text
    assert str(folder / "damaged") in caplog.text


def test_two_damaged_records_begin_anew(
    tmp_path: Path, bundle: Bundle, whole: Path, cuts: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = fresh_copy(cuts[3], tmp_path / "run")
    told = (folder / "metrics.jsonl").read_text().splitlines()
    for name in ("last.pt", "previous.pt"):
        damage(folder / name, 0.3, flip=False)
    with caplog.at_level(logging.WARNING, "plml"):
        assert Trainer(CONFIG, bundle, folder).epoch == 0
    assert "last.pt is damaged" in caplog.text
    assert "previous.pt is damaged" in caplog.text
    assert "the run begins anew" in caplog.text
    assert sorted(p.name for p in (folder / "damaged").iterdir()) == sorted(
        name for name in FILES if (cuts[3] / name).exists()
    )
    train(bundle, folder)
    assert_same_end(folder, whole)
    assert (folder / "metrics.jsonl").read_text().splitlines()[:4] == told


def test_damage_twice_keeps_both(tmp_path: Path, bundle: Bundle, cuts: list[Path]) -> None:
    folder = fresh_copy(cuts[3], tmp_path / "run")
    for _ in range(2):
        damage(folder / "last.pt", 0.5, flip=True)
        train(bundle, folder, stop_after=1)
    assert sorted(p.name for p in (folder / "damaged").iterdir()) == ["last.pt", "last.pt.1"]


def test_damaged_weights_take_the_record_with_them(
    tmp_path: Path, bundle: Bundle, whole: Path, cuts: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The record of epoch 3 says that epoch 3 is best; without its weights the one before is what there is."""
    folder = fresh_copy(cuts[3], tmp_path / "run")
    damage(folder / "best.pt", 0.5, flip=True)
    with caplog.at_level(logging.WARNING, "plml"):
        assert Trainer(CONFIG, bundle, folder).epoch == 3
    assert load_checkpoint(folder / "best.pt")["epoch"] == 1
    assert "best.pt is damaged" in caplog.text
    train(bundle, folder)
    assert_same_end(folder, whole)


def test_weights_that_were_damaged_in_the_meantime(tmp_path: Path, bundle: Bundle, whole: Path) -> None:
    """The last epochs are not the best: at the end the weights are read back."""
    trainer = Trainer(CONFIG, bundle, tmp_path)
    run = trainer.epochs()
    for _ in range(4):
        next(run)
    damage(tmp_path / "best.pt", 0.5, flip=True)
    with pytest.raises(DamagedError, match=r"best\.pt is damaged"):
        next(run)
    train(bundle, tmp_path)
    assert_same_end(tmp_path, whole)


def test_a_finished_run_whose_weights_were_cleared_away_stays_finished(
    tmp_path: Path, bundle: Bundle, whole: Path
) -> None:
    folder = fresh_copy(whole, tmp_path / "run")
    for name in ("best.pt", "best.previous.pt"):
        (folder / name).unlink(missing_ok=True)
    assert Trainer(CONFIG, bundle, folder).finished


def test_damaged_files_of_another_run_are_left_alone(tmp_path: Path, bundle: Bundle, cuts: list[Path]) -> None:
    folder = fresh_copy(cuts[3], tmp_path / "run")
    other = CONFIG.model_copy(update={"epochs": 7})
    for name in FILES:
        if (folder / name).exists():
            damage(folder / name, 0.5, flip=True)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(CheckpointError, match="another configuration"):
        Trainer(other, bundle, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, bundle: Bundle, whole: Path, cuts: list[Path]) -> None:
    folder = fresh_copy(cuts[2], tmp_path / "run")
    record = load_checkpoint(folder / "last.pt")
    del record["best_epoch"], record["result"]
    torch.save(record, folder / "last.pt")
    torch.save(load_checkpoint(folder / "best.pt"), folder / "best.pt")
    (folder / "previous.pt").unlink()
    train(bundle, folder)
    assert_same_end(folder, whole)
    assert not (folder / "damaged").exists()


# -- the other files --------------------------------------------------------------------------------------

REBUILT = ("config.yaml", "metrics.jsonl", "result.json", "scores/labels.npz")


def same_content(file: Path, other: Path) -> bool:
    if file.suffix != ".npz":
        return file.read_bytes() == other.read_bytes()
    with np.load(file) as a, np.load(other) as b:
        return sorted(a) == sorted(b) and all(np.array_equal(a[name], b[name], equal_nan=name[0] == "e") for name in a)


@pytest.mark.parametrize("name", REBUILT)
@given(where=PLACES, flip=st.booleans())
@SOME
def test_other_files_are_written_again(
    tmp_path: Path, bundle: Bundle, whole: Path, name: str, where: float, flip: bool
) -> None:
    folder = fresh_copy(whole, tmp_path / "run")
    damage(folder / name, where, flip=flip)
    assert Trainer(CONFIG, bundle, folder).finished
    assert same_content(folder / name, whole / name)


@pytest.mark.parametrize("name", REBUILT)
def test_files_that_are_missing_are_written_again(tmp_path: Path, bundle: Bundle, whole: Path, name: str) -> None:
    folder = fresh_copy(whole, tmp_path / "run")
    (folder / name).unlink()
    assert Trainer(CONFIG, bundle, folder).finished
    assert same_content(folder / name, whole / name)


@given(where=PLACES, flip=st.booleans())
@SOME
def test_a_garbled_log_before_the_first_record(
    tmp_path: Path, bundle: Bundle, whole: Path, where: float, flip: bool
) -> None:
    """A line that still reads like one stays until the run has a record; the result has never to do with it."""
    folder = fresh_copy(whole, tmp_path / "run")
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    damage(folder / "metrics.jsonl", where, flip=flip)
    train(bundle, folder)
    assert Trainer(CONFIG, bundle, folder).finished
    assert_same_end(folder, whole)


@pytest.mark.parametrize("name", ["scores/val_0003.npy", "scores/labels.npz", "result.json", "metrics.jsonl"])
@given(where=PLACES, flip=st.booleans())
@settings(SOME, max_examples=40)
def test_whoever_compares_runs_is_told_of_damage(
    tmp_path: Path, bundle: Bundle, whole: Path, name: str, where: float, flip: bool
) -> None:
    folder = fresh_copy(whole, tmp_path / "run")
    damage(folder / name, where, flip=flip)
    run = read_stored_run(folder)
    if isinstance(run, str):
        assert "opening the run again, by the command that trained it" in run
        return
    assert name == "scores/labels.npz" or torch.equal(run.labels()[1], bundle.val.observed)
    if name == "scores/val_0003.npy":
        with pytest.raises(DamagedError, match=r"val_0003\.npy is damaged.*train it again"):
            list(run.logits())
        return
    logits = [array.numpy() for _, arrays in run.logits() for array in arrays]
    assert len(logits) == 5
    assert all(np.array_equal(a, np.load(whole / "scores" / f"val_{i:04d}.npy")) for i, a in enumerate(logits))


def test_a_log_told_of_something_else_is_set_aside(tmp_path: Path, bundle: Bundle, whole: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(whole / "metrics.jsonl", folder)  # whose, nobody knows
    told = (folder / "metrics.jsonl").read_bytes()
    train(bundle, folder)
    assert_same_end(folder, whole)
    assert (folder / "damaged" / "metrics.jsonl").read_bytes() == told
    stamps = [[json.loads(line)["time"] for line in log.splitlines()] for log in (told.decode(),)]
    assert [report.time for report in read_reports(folder)] != stamps[0]


def test_a_record_says_what_was_kept_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"n": 1})
    save_checkpoint(tmp_path / "a.pt", {"n": 2}, keep=tmp_path / "b.pt")
    assert [load_checkpoint(tmp_path / name)["n"] for name in ("a.pt", "b.pt")] == [2, 1]
