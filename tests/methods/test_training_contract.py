"""Every method under every label setting that it accepts, in training: finite, repeatable, resumable, or refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from plml.config import make_config
from plml.data.bundle import Bundle, Split
from plml.errors import ConfigError
from plml.labels import NEGATIVE, UNKNOWN
from plml.methods import METHODS
from plml.models.heads import HEADS
from plml.observation import OBSERVATIONS, PartInfo, make_observation
from plml.trainer import Trainer

COUNT, CLASSES, SIZE, WIDTH = 20, 5, 8, 6
MODES = ("linear", "end_to_end")

each_method = pytest.mark.parametrize("name", sorted(METHODS))
each_mode = pytest.mark.parametrize("mode", MODES)


def truth_of(rng):
    truth = (rng.random((COUNT, CLASSES)) < 0.4).astype(np.int8)
    truth[np.arange(CLASSES), np.arange(CLASSES)] = 1  # every class occurs
    truth[:CLASSES, :] *= np.eye(CLASSES, dtype=np.int8)  # and some images have one label only
    return truth


TRUTH = truth_of(np.random.default_rng(0))


def setting_options(setting, folder):
    """Options of a setting on the toy data; a setting that reads a file gets one."""
    if setting != "from_file":
        return {"name": setting, **({"count": 4} if setting == "fixed_per_class" else {})}
    np.save(folder / "given.npy", np.where(TRUTH == 1, 1, -1))
    return {"name": setting, "path": str(folder / "given.npy"), "format": "cole"}


def observed_labels(options):
    distance = np.where(TRUTH == 1, 0.5, np.inf).astype(np.float32)
    part = PartInfo(
        ids=[str(i) for i in range(COUNT)],
        class_names=[f"class{i}" for i in range(CLASSES)],
        given=np.where(TRUTH == 1, 1, -1).astype(np.int8),
        evidence=lambda: {"area": TRUTH.astype(np.float32) / 2, "centre_distance": distance},
    )
    observed = make_observation(options).draw(TRUTH, np.random.RandomState(0), part)
    observed[-1] = UNKNOWN  # an image of which nothing is known
    return observed


def bundle_of(observed, mode):
    rng = np.random.default_rng(1)
    shape = (COUNT, WIDTH) if mode == "linear" else (COUNT, SIZE, SIZE, 3)
    array = rng.random(shape, dtype=np.float32) if mode == "linear" else rng.integers(0, 256, shape, dtype=np.uint8)

    def split(name):
        ids = [f"{name}{i}" for i in range(COUNT)]
        return Split(ids, np.arange(COUNT), array, torch.from_numpy(TRUTH), torch.from_numpy(observed))

    names = [f"class{i}" for i in range(CLASSES)]
    return Bundle("toy", names, split("a"), split("b"), split("c"), expected_positives=1.5, flip=True, digest="toy")


def config_of(name, options, mode, **changes):
    tree = {
        "mode": mode,
        "epochs": 3,
        "device": "cpu",
        "method": name,
        "data": {"observation": options},
        "optim": {"lr": 0.01, "batch_size": 8},
        "selection": {"labels": "clean"},
    }
    return make_config(tree, {path.replace("__", "."): value for path, value in changes.items()})


def run(config, bundle, folder, epochs=None):
    trainer = Trainer(config, bundle, folder)
    for count, report in enumerate(trainer.epochs(), start=1):
        assert np.isfinite(list(report.metrics.values())).all(), report
        if count == epochs:
            break
    return trainer


def accepts(name, setting, mode, head="linear"):
    reveals, weights = OBSERVATIONS[setting].reveals, HEADS[head].gives_class_weights
    return METHODS[name].refusal(reveals=reveals, mode=mode, class_weights=weights) is None


@each_method
@each_mode
def test_trains_under_every_setting_that_it_accepts(name, mode, tmp_path):
    tried = 0
    for setting in sorted(OBSERVATIONS):
        options = setting_options(setting, tmp_path)
        if accepts(name, setting, mode):
            config = config_of(name, options, mode, epochs=1)
            observed = observed_labels(options)
            # What a file or a data set holds is not known before it is read.
            if not (METHODS[name].needs_negatives and not (observed == NEGATIVE).any()):
                run(config, bundle_of(observed, mode), tmp_path / setting)
                tried += 1
        else:
            with pytest.raises(ConfigError, match=f"'{name}' needs "):
                config_of(name, options, mode)
    assert tried or METHODS[name].needs_images


@pytest.mark.parametrize(
    ("name", "mode"), [(n, m) for n in sorted(METHODS) for m in MODES if accepts(n, "known_fraction", m)]
)
def test_a_resumed_run_goes_on_bit_for_bit(name, mode, tmp_path):
    options = {"name": "known_fraction", "fraction": 0.5}
    bundle = bundle_of(observed_labels(options), mode)
    config = config_of(name, options, mode)
    whole = run(config, bundle, tmp_path / "whole")
    run(config, bundle, tmp_path / "parts", epochs=1)
    run(config, bundle, tmp_path / "parts", epochs=1)
    parts = run(config, bundle, tmp_path / "parts")
    for one, other in zip(whole.history, parts.history, strict=True):
        same = {key for key in one.metrics if not key.startswith("time/")}
        assert {key: one.metrics[key] for key in same} == {key: other.metrics[key] for key in same}
    for module, again in ((whole.model, parts.model), (whole.method, parts.method)):
        for key, value in module.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), key


@each_method
@pytest.mark.parametrize("head", sorted(set(HEADS) - {"linear"}))
def test_every_head_carries_every_method_or_is_refused(name, head, tmp_path):
    options = {"name": "known_fraction", "fraction": 0.5}
    if accepts(name, "known_fraction", "end_to_end", head):
        config = config_of(name, options, "end_to_end", epochs=1, model__head=head)
        run(config, bundle_of(observed_labels(options), "end_to_end"), Path(tmp_path))
    else:
        with pytest.raises(ConfigError, match="needs a head that reads every class by one weight vector"):
            config_of(name, options, "end_to_end", model__head=head)
