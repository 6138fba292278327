"""What a follower does: open the runs that the leader opens, and train an epoch when it is told to."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle
from plml.data.shared import SharedBundles
from plml.distributed.device_group import DeviceGroup
from plml.distributed.followed_folder import FollowedFolder
from plml.report import EpochReport
from plml.run_folder import RunFolder
from plml.trainer import Trainer


class Follower(DeviceGroup):
    """A rank behind the first; see :class:`DeviceGroup` for its arguments.

    Args:
        answer: sends a line to the leader.
    """

    def __init__(
        self, rank: int, size: int, own_device: torch.device, timeout_s: float, answer: Callable[[str], None]
    ) -> None:
        super().__init__(rank, size, own_device, timeout_s)
        self._answer = answer

    def open_run(self, config: TrainConfig, bundle: Bundle, folder: Path) -> RunFolder:
        self._answer(bundle.digest)
        return FollowedFolder(folder, config, bundle)


def follow(
    settings: dict[str, Any], folder: Path, next_command: Callable[[], dict[str, Any]], answer: Callable[[str], None]
) -> None:
    """Do what the leader tells, without end.

    Args:
        settings: rank, size, device and timeout_s.
        folder: of the processes of this training.
        next_command: waits for the leader's next command.
        answer: sends a line to the leader.
    """
    rank = settings["rank"]
    device = torch.device("cuda", rank) if settings["device"] == "cuda" else torch.device("cpu")
    group = Follower(rank, settings["size"], device, settings["timeout_s"], answer)
    answer("started")
    group.join(folder / "store")
    runs: list[Iterator[EpochReport]] = []
    bundles = SharedBundles(most=2)  # seeds of one trial train on the same data
    while True:
        command = next_command()
        if command["do"] == "open":
            config = make_config(command["config"])
            features = None
            if config.mode == "linear_init":
                features = bundles.read(config.model_copy(update={"mode": "linear", "linear_init": None}), device)
            bundle = bundles.read(config, device)
            trainer = Trainer(config, bundle, Path(command["folder"]), stage_bundle=features, group=group)
            runs.append(trainer.epochs())
        else:
            next(runs[command["run"]])
