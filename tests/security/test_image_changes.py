"""A study says when its image files are not those that it began with."""

import io
from pathlib import Path

import pytest
import yaml
from fuzz_targets import image_bytes, photos, write

from plml.data.shared import SharedBundles
from plml.terminal import Terminal
from tune.folders import StudyFolder
from tune.image_changes import tell_changes, watch_images
from tune.ledger import Ledger
from tune.study import load_study
from tune.trainable import Task, TrialReport, run_task

NAMES = [f"a_{number}.png" for number in range(12)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study on a folder of images; its file."""
    photos(tmp_path / "data", *NAMES)
    rows = [f"{name},{number % 2},{(number + 1) % 2}" for number, name in enumerate(NAMES)]
    write(tmp_path / "data", {"labels.csv": "\n".join(["file,cat,dog", *rows]) + "\n"})
    base = {
        "epochs": 1,
        "data": {"name": "folder", "root": str(tmp_path / "data"), "image_size": 8, "val_fraction": 0.4},
    }
    space = {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"base": base, "search_space": space, "n_trials": 2}))
    return tmp_path / "small.yaml"


def ledger(file: Path) -> Ledger:
    folder = StudyFolder(file.parent / "results" / "small")
    folder.path.mkdir(parents=True, exist_ok=True)
    return Ledger(load_study(file), folder, str(folder.journal), 2)


def console() -> Terminal:
    return Terminal(file=io.StringIO(), width=400)


def said(written: Terminal) -> str:
    assert isinstance(written.file, io.StringIO)
    return written.file.getvalue()


def test_within_a_launch_the_files_are_named(study: Path) -> None:
    quiet = console()
    watch = watch_images(ledger(study), quiet)
    tell_changes(watch, quiet)
    assert said(quiet) == ""
    (study.parent / "data" / NAMES[7]).write_bytes(b"junk")
    loud = console()
    tell_changes(watch, loud)
    assert f"1 of 12 image files changed while trials were trained, {study.parent / 'data' / NAMES[7]}" in said(loud)


def test_between_launches_sizes_are_compared(study: Path) -> None:
    first = console()
    watch_images(ledger(study), first)
    again = console()
    watch_images(ledger(study), again)
    assert said(first) == said(again) == ""
    (study.parent / "data" / NAMES[7]).write_bytes(image_bytes("PNG"))
    changed = console()
    watch_images(ledger(study), changed)
    assert "the image files of this study are not those that it began with" in said(changed)


def test_a_trial_that_meets_an_unreadable_image_says_which(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two trials: the second one is over with a reason, and does not learn from something else."""
    config = load_study(study).base
    task = Task(tree=config.tree(), folder=str(study.parent / "run_1"))
    told: list[TrialReport] = []
    run_task(task, told.append)
    assert [report.outcome for report in told] == ["complete"]
    (study.parent / "data" / NAMES[7]).write_bytes(b"junk")
    monkeypatch.setattr("tune.trainable._BUNDLES", SharedBundles(most=2))  # as in a process that starts now
    run_task(Task(tree=config.tree(), folder=str(study.parent / "run_2")), told.append)
    assert told[-1].outcome == "rejected"
    assert str(study.parent / "data" / NAMES[7]) in told[-1].detail


def test_a_process_that_has_the_data_goes_on_with_it(study: Path) -> None:
    config = load_study(study).base
    told: list[TrialReport] = []
    run_task(Task(tree=config.tree(), folder=str(study.parent / "run_1")), told.append)
    for name in NAMES:
        (study.parent / "data" / name).unlink()
    run_task(Task(tree=config.tree(), folder=str(study.parent / "run_2")), told.append)
    assert [report.outcome for report in told] == ["complete", "complete"]
    assert told[0].objective == told[1].objective
