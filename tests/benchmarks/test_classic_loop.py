"""The classic loop learns, and its mAP is scikit-learn's."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "classic_loop.py"))


def test_it_learns_from_stored_features_and_drops_the_last_batch():
    data = SCRIPT["random_features"]({"train": 130, "val": 24, "test": 27}, 64, 3)
    run = SCRIPT["linear_run"](data, loss="role", lr=1e-2, batch_size=8, workers=0)
    assert {name: len(loader) for name, loader in run.loaders.items()} == {"train": 16, "val": 3, "test": 3}
    before = run.estimates.logits.detach().clone()
    first = run.epoch()
    for _ in range(3):
        last = run.epoch()
    assert last["test"] > first["test"] > 0
    assert last["train"] > 60
    assert not before.equal(run.estimates.logits)


def test_random_labels_have_a_positive_in_every_row_and_show_one_of_them():
    truth, observed = SCRIPT["random_labels"](4000, 20, 0)
    assert (observed.sum(axis=1) == 1).all()
    assert (truth[observed == 1] == 1).all()
    assert truth.sum(axis=1).mean() == pytest.approx(1.5, abs=0.05)


def test_a_class_without_positives_counts_zero():
    scores = np.array([[0.9, 0.1], [0.1, 0.2]], dtype=np.float32)
    labels = np.array([[1, 0], [0, 0]], dtype=np.float32)
    assert SCRIPT["mean_average_precision"](scores, labels) == 50.0


def test_images_are_resized_flipped_and_normalised(tmp_path):
    paths = SCRIPT["photos"](None, 3, tmp_path)
    assert len(paths) == 3
    image = SCRIPT["image_reader"](paths, 32, flip=False)(0)
    assert tuple(image.shape) == (3, 32, 32)
    assert -2.2 < image.min() < image.max() < 2.7
    again = SCRIPT["photos"](tmp_path, 5, tmp_path)  # fewer photos than asked for: they repeat
    assert [path.name for path in again] == ["000.jpg", "001.jpg", "002.jpg", "000.jpg", "001.jpg"]
