"""The process that asked for several devices: it trains as all do, tells them when, and writes the run folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from plml.data.bundle import Bundle
from plml.distributed.device_group import DeviceGroup
from plml.distributed.errors import DeviceGroupError
from plml.distributed.followers import NOTICE_S, Followers
from plml.run_folder import RunFolder

if TYPE_CHECKING:
    from plml.config import TrainConfig

START_S = 120.0  # a follower imports PyTorch
LOAD_S = 1800.0  # and reads the data, which the leader has decoded by then


class Leader(DeviceGroup):
    """Rank 0 of a training on ``size`` devices.

    Args:
        size: number of processes.
        own_device: what this one trains on.
        timeout_s: how long a process waits for another one in the middle of an epoch.
    """

    def __init__(self, size: int, own_device: torch.device, timeout_s: float) -> None:
        super().__init__(0, size, own_device, timeout_s)
        self.followers = Followers(size, own_device.type, timeout_s)  # they import while this process reads data
        self._runs: list[RunFolder] = []

    def open_run(self, config: "TrainConfig", bundle: Bundle, folder: Path) -> RunFolder:
        if not self.joined:
            self.followers.answers(START_S)
            self.join(self.followers.folder / "store")
            if self.own_device.type == "cuda":  # sockets break off when a process dies, but kernels wait for ever
                self.followers.watch(self.abort)
        self.followers.tell({"do": "open", "config": config.tree(), "folder": str(folder)})
        for rank, digest in enumerate(self.followers.answers(LOAD_S), start=1):
            if digest != bundle.digest:
                raise DeviceGroupError(f"device {rank} read other data: {digest[:12]}, not {bundle.digest[:12]}")
        self._runs.append(RunFolder(folder, config, bundle))
        return self._runs[-1]

    def begin_epoch(self, files: RunFolder) -> None:
        [number] = [place for place, run in enumerate(self._runs) if run is files]
        self.followers.tell({"do": "epoch", "run": number})

    def reason(self, error: Exception) -> str | None:
        """Return what lies behind ``error`` if it says that processes lost each other, else None."""
        if isinstance(error, DeviceGroupError):
            return str(error)
        lost = isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError) and any(name in str(error) for name in ("gloo", "NCCL"))
        )
        return self.followers.trouble(NOTICE_S) if lost else None

    def end(self, *, broken: bool) -> None:
        """End the other processes and the connections to them.

        Args:
            broken: training did not come to a good end, so that nothing under way can be waited for.
        """
        try:
            if self.joined:
                self.leave(broken=broken)
        finally:
            self.followers.end()
