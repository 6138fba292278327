"""A small trained run, which the tests of this folder only read."""

from pathlib import Path

import pytest

from plml.config import make_config
from plml.data.load import load_bundle
from plml.trainer import Trainer


@pytest.fixture(scope="session")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    options = {"num_train": 96, "num_val": 64, "num_test": 24, "canvas": 24}
    config = make_config(
        {
            "epochs": 3,
            "device": "cpu",
            "method": "an",
            "data": {"name": "digits", "observation": "single_positive", "options": options},
        }
    )
    for _ in Trainer(config, load_bundle(config), folder).epochs():
        pass
    return folder / "best.pt"
