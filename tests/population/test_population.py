"""Population training: every run gets what it would get alone."""

import numpy as np
import pytest
import torch

from plml.config import make_config
from plml.data.bundle import Bundle, Split
from plml.methods import METHODS
from plml.population import Ended, Population, kind_of
from plml.trainer import Trainer

COUNT, CLASSES, WIDTH = 30, 5, 6
STACKABLE = sorted(name for name, method in METHODS.items() if method.stackable and not method.needs_images)
each_method = pytest.mark.parametrize("name", STACKABLE)


def make_bundle(dtype=np.float64, hidden=0.4):
    rng = np.random.default_rng(0)
    truth = (rng.random((COUNT, CLASSES)) < 0.4).astype(np.int8)
    truth[np.arange(CLASSES), np.arange(CLASSES)] = 1
    observed = np.where(rng.random(truth.shape) < hidden, -1, truth).astype(np.int8)
    array = rng.standard_normal((COUNT, WIDTH)).astype(dtype)

    def split(name):
        ids = [f"{name}{i}" for i in range(COUNT)]
        return Split(ids, np.arange(COUNT), array, torch.from_numpy(truth), torch.from_numpy(observed))

    names = [f"class{i}" for i in range(CLASSES)]
    return Bundle("toy", names, split("a"), split("b"), split("c"), expected_positives=1.5, flip=False, digest="toy")


BUNDLE, SINGLE = make_bundle(), make_bundle(np.float32)


def make(folder, *, bundle=BUNDLE, **changes):
    tree = {
        "mode": "linear",
        "epochs": 4,
        "device": "cpu",
        "method": "wan",
        "data": {"observation": {"name": "known_fraction", "fraction": 0.5}},
        "optim": {"lr": 0.01, "batch_size": 8},  # 30 examples: the last batch is smaller
        "selection": {"labels": "clean"},
    }
    trainer = Trainer(make_config(tree, {k.replace("__", "."): v for k, v in changes.items()}), bundle, folder)
    if bundle is BUNDLE:
        trainer.model.double()
        trainer.method.double()
    return trainer


def variants(name):
    """Three runs of a method that differ in rate, seed and every searched number."""
    space = {key: dist for key, dist in METHODS[name].search_space.items() if dist["type"] == "float"}
    ends = [{f"method__{key}": float(dist[end]) for key, dist in space.items()} for end in ("low", "high")]
    return [
        {"method": name, "optim__lr": 0.01, **ends[0]},
        {"method": name, "optim__lr": 0.003, "seed": 7, **ends[1]},
        {"method": name, "optim__lr": 0.03},
    ]


def state_of(trainer):
    return {
        **{f"model.{key}": value for key, value in trainer.model.state_dict().items()},
        **{f"method.{key}": value for key, value in trainer.method.state_dict().items()},
    }


def assert_same(together, alone, tolerance=1e-9):
    others = state_of(alone)
    for key, value in state_of(together).items():
        torch.testing.assert_close(
            value, others[key], rtol=tolerance, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )
    assert len(together.history) == len(alone.history)
    for one, other in zip(together.history, alone.history, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        assert (one.epoch, one.final) == (other.epoch, other.final)
        # Scores are compared in single precision, in which a rounding may swap two of them.
        assert one.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], rel=1e-9, abs=1e-12)
        for key in set(one.metrics) - {"time/epoch_s"}:
            if key.startswith("train/"):
                assert one.metrics[key] == pytest.approx(other.metrics[key], rel=1e-6, abs=1e-9), key


def train(population):
    return [result for epoch in population.epochs() for result in epoch]


@each_method
def test_each_run_equals_training_it_alone(name, tmp_path):
    trainers = [make(tmp_path / f"together{i}", **options) for i, options in enumerate(variants(name))]
    assert len({kind_of(trainer) for trainer in trainers}) == 1
    assert kind_of(trainers[0]) is not None
    results = train(Population(trainers))
    assert not [result for result in results if isinstance(result, Ended)]
    for number, options in enumerate(variants(name)):
        alone = make(tmp_path / f"alone{number}", **options)
        list(alone.epochs())
        assert_same(trainers[number], alone)
