"""Trains a few short runs in double precision as one of several processes; run by test_double_precision.

Arguments: rank, number of processes, folder.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle
from plml.data.load import load_bundle
from plml.distributed.device_group import DeviceGroup
from plml.distributed.followed_folder import FollowedFolder
from plml.distributed.group import ALONE
from plml.errors import ConfigError
from plml.methods import METHODS
from plml.models import Classifier
from plml.run_folder import RunFolder
from plml.trainer import Trainer

SPECIAL = {
    "contrastive": {"method": "an", "auxiliary": "contrastive"},
    "augmented": {"method": "ll_r", "data.crop_scale": 0.5, "data.randaugment": True, "data.cutout": 0.3},
}
CASES = {**{name: {"method": name} for name in METHODS}, **SPECIAL}
SETTINGS = ("single_positive", "candidate_set", {"name": "missing_positives", "rate": 0.3}, "fully_observed")
TREE = {
    "epochs": 2,
    "device": "cpu",
    "optim": {"name": "adam", "lr": 1e-3, "batch_size": 21},
    "data": {
        "name": "digits",
        "options": {"num_train": 64, "num_val": 20, "num_test": 20},
    },
}


def config_of(changes: dict[str, Any]) -> TrainConfig:
    """A short training of the first label setting that the method takes."""
    for setting in SETTINGS:
        with suppress(ConfigError):
            return make_config(TREE, {"data.observation": setting, **changes})
    raise AssertionError(f"no setting for {changes}")


class Rank(DeviceGroup):
    """One of the processes, none of which was started by another."""

    def open_run(self, config: TrainConfig, bundle: Bundle, folder: Path) -> RunFolder:
        kind = RunFolder if self.rank == 0 else FollowedFolder
        return kind(folder, config, bundle)


def main() -> None:
    """Train every case and save losses and weights."""
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    single = Classifier.preprocess

    def double(model: Classifier, inputs: Tensor) -> Tensor:
        return single(model, inputs).double()

    Classifier.preprocess = double  # type: ignore[method-assign]
    group = Rank(rank, size, torch.device("cpu"), 60.0) if size > 1 else ALONE
    if isinstance(group, Rank):
        group.join(folder / "store")
    found = {}
    for name, changes in CASES.items():
        config = config_of(changes)
        bundle = load_bundle(config, device=torch.device("cpu"))
        trainer = Trainer(config, bundle, folder / f"{name}-{size}", group=group)
        parts = {"model": trainer.model, "method": trainer.method}
        if trainer.auxiliary is not None:
            parts["auxiliary"] = trainer.auxiliary
        for module in parts.values():
            module.double()
        losses = [report.metrics["train/loss"] for report in trainer.epochs()]
        found[name] = {
            "loss": torch.tensor(losses, dtype=torch.float64),
            **{f"{part}.{key}": v for part, module in parts.items() for key, v in module.state_dict().items()},
        }
    torch.save(found, folder / f"{size}-{rank}.pt")
    if isinstance(group, Rank):
        group.leave(broken=False)


if __name__ == "__main__":
    main()
