"""Two devices compute what one does: every kind of network output, records exchanged between them.

Tolerances: single precision rounds to 6e-8 of a value, sums over a batch in another order differ by a few of that, and
a dozen steps of plain SGD pass it on without growth (Adam divides by gradients that are nearly zero and so makes them
visible; :mod:`test_double_precision` shows that there is nothing but rounding in either).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml.checkpoint import load_checkpoint
from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle
from plml.data.load import load_bundle
from plml.distributed import ALONE, DeviceGroupError, Group, open_group
from plml.distributed.followed_folder import FollowedFolder
from plml.errors import ConfigError
from plml.run_folder import RunFolder
from plml.trainer import Trainer

RELATIVE, ABSOLUTE = 1e-4, 2e-5
DATA = {"name": "digits", "options": {"num_train": 64, "num_val": 20, "num_test": 20}}
SETTINGS = ("single_positive", "candidate_set", {"name": "missing_positives", "rate": 0.3}, "fully_observed")


def config_of(method: str | dict[str, Any], **changes: Any) -> TrainConfig:
    """A short training of the first label setting that the method takes."""
    tree = {
        "epochs": 2,
        "device": "cpu",
        "method": method,
        # 64 examples in batches of 21 leave one for the last batch: the second device has none of it.
        "optim": {"name": "sgd", "lr": 0.01, "batch_size": 21},
    }
    for setting in SETTINGS:
        try:
            return make_config({**tree, "data": {**DATA, "observation": setting}}, changes)
        except ConfigError:
            continue
    raise AssertionError(f"no setting for {method}")


def bundle_of(config: TrainConfig) -> Bundle:
    return load_bundle(config, device=torch.device("cpu"))


def train(config: TrainConfig, folder: Path, group: Group, stop_after: int | None = None) -> Trainer:
    stage = None
    if config.mode == "linear_init":
        stage = bundle_of(config.model_copy(update={"mode": "linear", "linear_init": None}))
    trainer = Trainer(config, bundle_of(config), folder, stage_bundle=stage, group=group)
    for number, _ in enumerate(trainer.epochs(), start=1):
        if number == stop_after:
            break
    return trainer


def round_otherwise(config: TrainConfig, folder: Path) -> Trainer:
    """Train on one device with convolutions of another library, which sums in another order."""
    torch.backends.mkldnn.enabled = False
    try:
        return train(config, folder, ALONE)
    finally:
        torch.backends.mkldnn.enabled = True


def assert_same(a: Trainer, b: Trainer) -> None:
    """Losses of every epoch, all weights, statistics and the method's state agree but for rounding; so do scores.

    How far rounding carries depends on the processor: where tensors are further apart than the fixed tolerance, they
    may be twice as far as the same training on one device with other convolutions.
    """
    otherwise: Trainer | None = None
    assert len(a.history) == len(b.history) == a.config.total_epochs
    for one, other in zip(a.history, b.history, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        assert other.metrics["train/loss"] == pytest.approx(one.metrics["train/loss"], rel=RELATIVE)
    for part in ("model", "method", "auxiliary"):
        of_a, of_b = getattr(a, part), getattr(b, part)
        if of_a is None:
            continue
        mine, theirs = of_a.state_dict(), of_b.state_dict()
        assert list(mine) == list(theirs)
        for name, value in mine.items():
            if torch.allclose(theirs[name], value, rtol=RELATIVE, atol=ABSOLUTE):
                continue
            otherwise = otherwise or round_otherwise(a.config, a.files.path.with_name("otherwise"))
            allowed = 2 * float((getattr(otherwise, part).state_dict()[name] - value).abs().max())
            torch.testing.assert_close(theirs[name], value, rtol=RELATIVE, atol=allowed, msg=f"{part}.{name}")
    files = [sorted((trainer.files.path / "scores").glob("*.npy")) for trainer in (a, b)]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    for one, other in zip(*files, strict=True):
        if one.name != "test.npy":  # of the chosen epoch, and two that are equally good may change places
            np.testing.assert_allclose(np.load(other), np.load(one), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def pair() -> Iterator[Group]:
    """Two processes, which train one run after another."""
    with open_group(config_of("an"), 2, timeout_s=60) as group:
        yield group


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a table of all labels": ("role", {}),
    "rejects large losses": ("ll_r", {}),
    "maps and class weights": ("cones", {}),
    "a view's features": ("plc", {}),
    # At the default temperature similarities are blown up fourteen times, and their rounding with them: seen in double.
    "a contrastive loss beside": ("an", {"auxiliary": {"name": "contrastive", "temperature": 1.0, "weight": 0.1}}),
    "label graph": ("imcl", {}),
    "augmented": ("an", {"data.crop_scale": 0.5, "data.randaugment": True, "data.cutout": 0.3}),
    "averaged, clipped": ("an", {"optim.ema_decay": 0.9, "optim.grad_clip": 0.1, "optim.batch_size": 20}),
    "two stages": ("role", {"mode": "linear_init", "linear_init.epochs": 1, "linear_init.lr": 0.01, "epochs": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_two_devices_compute_what_one_does(tmp_path: Path, pair: Group, case: str) -> None:
    method, changes = CASES[case]
    config = config_of(method, **changes)
    assert_same(train(config, tmp_path / "one", ALONE), train(config, tmp_path / "two", pair))


def test_a_record_goes_on_with_another_number_of_devices(tmp_path: Path, pair: Group) -> None:
    config = config_of("role", epochs=3)
    whole = train(config, tmp_path / "whole", ALONE)
    train(config, tmp_path / "mixed", ALONE, stop_after=1)
    train(config, tmp_path / "mixed", pair, stop_after=1)
    mixed = train(config, tmp_path / "mixed", ALONE)
    assert_same(whole, mixed)
    record = load_checkpoint(tmp_path / "mixed" / "last.pt")
    assert record["fingerprint"] == whole.config.fingerprint


def test_only_the_leader_has_files(tmp_path: Path) -> None:
    """A method that RunFolder gains is either one that followers do not call, or overridden."""
    public = {name for name in vars(RunFolder) if not name.startswith("_")}
    assert public - {name for name in vars(FollowedFolder) if not name.startswith("_")} == {"open", "read_best"}


@pytest.mark.parametrize(
    ("changes", "devices", "message"),
    [
        ({}, 0, "one device at least, got 0"),
        ({"compile": "always"}, 2, "'always' is for one device"),
        ({"device": "cpu:0"}, 2, "names one device"),
    ],
)
def test_what_cannot_be_shared(changes: dict[str, Any], devices: int, message: str) -> None:
    config = config_of("an", **changes)
    with pytest.raises(ConfigError, match=message), open_group(config, devices):
        pass


def test_one_device_starts_nothing() -> None:
    with open_group(config_of("an"), 1) as group:
        assert group is ALONE


def test_other_data_is_refused(tmp_path: Path, pair: Group) -> None:
    config = config_of("an")
    other = bundle_of(config_of("an", **{"data.observation_seed": 7}))
    with pytest.raises(DeviceGroupError, match="read other data"):
        Trainer(config, other, tmp_path, group=pair)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_compute_what_one_does(tmp_path: Path) -> None:
    config = config_of("role", device="cuda")
    alone = train(config, tmp_path / "one", ALONE)
    with open_group(config, 2) as group:
        assert_same(alone, train(config, tmp_path / "two", group))
