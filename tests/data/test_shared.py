"""Trainings of a process share what they read, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml.config import TrainConfig, make_config
from plml.data.load import load_bundle
from plml.data.shared import SharedBundles

CPU = torch.device("cpu")
DIGITS: dict[str, Any] = {
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 40, "num_val": 20, "num_test": 20},
    },
}


def seeded(tree: dict[str, Any], seed: int) -> TrainConfig:
    return make_config({**tree, "seed": seed})


def test_images_do_not_depend_on_the_seed() -> None:
    bundles = SharedBundles(most=2)
    assert bundles.read(seeded(DIGITS, 0), CPU) is bundles.read(seeded(DIGITS, 1), CPU)


def test_features_of_an_untrained_network_do() -> None:
    tree, bundles = {**DIGITS, "mode": "linear"}, SharedBundles(most=2)
    one, two = (bundles.read(seeded(tree, seed), CPU) for seed in (0, 1))
    assert not np.array_equal(one.train.array, two.train.array)
    assert np.array_equal(two.train.array, load_bundle(seeded(tree, 1)).train.array)
    assert bundles.read(seeded(tree, 0), CPU) is one
    assert bundles.read(seeded(tree, 1), CPU) is two


def test_ready_made_features_do_not(tmp_path: Path) -> None:
    draw, size = np.random.default_rng(0), 30
    np.savez(
        tmp_path / "x.npz",
        features=draw.normal(size=(size, 4)).astype(np.float32),
        labels=(draw.random((size, 3)) < 0.5).astype(np.int8),
        split=np.repeat(["train", "val", "test"], size // 3),
    )
    data = {"name": "arrays", "root": str(tmp_path / "x.npz"), "observation": "single_positive"}
    tree, bundles = {"mode": "linear", "data": data}, SharedBundles(most=2)
    assert bundles.read(seeded(tree, 0), CPU) is bundles.read(seeded(tree, 1), CPU)


@pytest.mark.parametrize("change", [{"observation_seed": 9}, {"split_seed": 9}])
def test_other_data_is_read_anew_and_the_oldest_let_go(change: dict[str, Any]) -> None:
    bundles = SharedBundles(most=2)
    first = bundles.read(seeded(DIGITS, 0), CPU)
    other = {**DIGITS, "data": {**DIGITS["data"], **change}}
    assert bundles.read(seeded(other, 0), CPU) is not first
    assert bundles.read(seeded(DIGITS, 0), CPU) is first
    bundles.read(seeded({**DIGITS, "data": {**DIGITS["data"], "observation_seed": 10}}, 0), CPU)
    bundles.read(seeded({**DIGITS, "data": {**DIGITS["data"], "observation_seed": 11}}, 0), CPU)
    assert bundles.read(seeded(DIGITS, 0), CPU) is not first
