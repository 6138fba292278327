"""A process that works shows it, one that stands still does not, and one that nobody watches writes nothing."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from plml import heartbeat
from plml.config import make_config
from plml.data import cache
from plml.data.cache_entry import build_lock
from plml.data.load import load_bundle
from plml.heartbeat import beat, last_beat, show_life_in
from plml.population import Population
from plml.trainer import Trainer

BASE = {
    "epochs": 2,
    "method": "an",
    "device": "cpu",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 60, "num_val": 30, "num_test": 30},
    },
}


@pytest.fixture(autouse=True)
def _nobody_watches_afterwards() -> Iterator[None]:
    yield
    show_life_in(None)


@pytest.fixture
def touches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every touch of the file, which follows each beat."""
    seen: list[Path] = []
    real = Path.touch

    def touch(file: Path) -> None:
        seen.append(file)
        real(file)

    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    monkeypatch.setattr(Path, "touch", touch)
    return seen


def test_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    beat()
    assert list(tmp_path.iterdir()) == []
    assert last_beat(tmp_path) is None


def test_the_file_says_who_it_is_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.05)
    show_life_in(tmp_path)
    assert json.loads((tmp_path / ".alive").read_text())["pid"] == os.getpid()
    first = last_beat(tmp_path)
    beat()
    assert last_beat(tmp_path) == first  # too soon
    time.sleep(0.06)
    assert last_beat(tmp_path) == first  # nothing was done
    beat()
    assert last_beat(tmp_path) != first


def test_trouble_with_the_file_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    (tmp_path / "file").write_text("in the way")
    show_life_in(tmp_path / "file")
    beat()
    assert last_beat(tmp_path / "file") is None
    show_life_in(tmp_path / "folder")  # it is made
    (tmp_path / "folder" / ".alive").unlink()
    beat()
    assert last_beat(tmp_path / "folder") is not None


@pytest.mark.parametrize("mode", ["linear", "end_to_end"])
def test_training_and_scoring_beat(tmp_path: Path, touches: list[Path], mode: str) -> None:
    config = make_config(BASE, {"mode": mode, "optim.batch_size": 10})
    trainer = Trainer(config, load_bundle(config, device=torch.device("cpu")), tmp_path)
    show_life_in(tmp_path)
    run = trainer.epochs()
    touches.clear()
    next(run)
    assert len(touches) >= 6 + 1  # steps of the epoch, and passes of scoring
    touches.clear()
    trainer.scores(trainer.stage.bundle.test)
    assert touches
    run.close()


def test_a_population_beats(tmp_path: Path, touches: list[Path]) -> None:
    config = make_config(BASE, {"mode": "linear", "optim.batch_size": 10})
    bundle = load_bundle(config, device=torch.device("cpu"))
    population = Population([Trainer(config, bundle, tmp_path / "a"), Trainer(config, bundle, tmp_path / "b")])
    show_life_in(tmp_path)
    touches.clear()
    population.epoch()
    assert len(touches) >= 6


def test_who_waits_for_another_to_fill_the_cache_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = threading.Event()
    monkeypatch.setattr(cache, "EVERY_S", 0.05)
    monkeypatch.setattr(cache, "beat", touched.set)

    def fill(array: NDArray[Any], start: int, stop: int) -> None:
        array[start:stop] = 1

    def wait_for_it() -> None:
        cache.cached_array(tmp_path / "key", (3,), np.dtype(np.uint8), fill, label="")

    lock = build_lock(tmp_path / "key")
    with lock:
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert touched.wait(20)
        assert waiting.is_alive()
    waiting.join(20)
    assert (tmp_path / "key" / "complete").is_file()
    lock.acquire(timeout=5)  # it was released
    lock.release()


def test_a_beat_costs_a_look_at_the_clock(tmp_path: Path) -> None:
    show_life_in(tmp_path)
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            beat()
        rounds.append((time.perf_counter() - began) / 1000)
    assert np.median(rounds) < 20e-6
