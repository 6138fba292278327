"""A process among several that train together, see :class:`plml.distributed.group.Group` for what each method is."""

import io
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore  # type: ignore[attr-defined]

from plml.data.share import Share
from plml.distributed.batch_norm import normalize_together
from plml.distributed.gathering import gather_output
from plml.distributed.gradients import GradientSum
from plml.distributed.group import Group
from plml.labels import ModelOutput

if TYPE_CHECKING:
    from plml.config import TrainConfig

T = TypeVar("T")


class DeviceGroup(Group):
    """One of several processes, each with a device of its own.

    Args:
        rank: of this process.
        size: number of processes.
        own_device: what it trains on.
        timeout_s: how long a process waits for another one in the middle of an epoch.

    Attributes:
        joined: whether the processes are connected.
    """

    def __init__(self, rank: int, size: int, own_device: torch.device, timeout_s: float) -> None:
        self.rank, self.size, self.own_device, self.timeout_s = rank, size, own_device, timeout_s
        self.joined = False

    def join(self, store: Path) -> None:
        """Connect with the other processes.

        Args:
            store: a file of these processes alone, by which they find each other; no port is opened for that.
        """
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            if sys.platform == "linux":
                os.environ.setdefault(name, "lo")  # they are all on this machine: nothing listens beyond loopback
        on_cuda = self.own_device.type == "cuda"
        if on_cuda:
            torch.cuda.set_device(self.own_device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_cuda else "gloo",
            store=FileStore(str(store), self.size),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=self.timeout_s),
            device_id=self.own_device if on_cuda else None,
        )
        self.joined = True

    def device(self, config: "TrainConfig") -> torch.device:
        return self.own_device

    def prepare(self, model: nn.Module) -> None:
        normalize_together(model, self.own_device)

    def reduction(self, model: nn.Module) -> Callable[[], None]:
        return GradientSum(list(model.parameters())).finish

    def share(self, count: int) -> Share:
        return Share.of_rank(count, self.rank, self.size)

    def gather(self, out: ModelOutput, share: Share, *, maps: bool) -> ModelOutput:
        return gather_output(out, share, self.rank, self.size, maps=maps)

    def gather_rows(self, rows: Tensor, start: int, count: int) -> Tensor:
        whole = rows.new_zeros(count, *rows.shape[1:])
        whole[start : start + len(rows)] = rows
        dist.all_reduce(whole)  # each row is one process's, zero in the others
        return whole

    def from_leader(self, compute: Callable[[], T]) -> T:
        if self.rank > 0:
            length = torch.zeros(1, dtype=torch.int64)
            dist.broadcast(length, 0)
            content = torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(content, 0)
            found: T = torch.load(
                io.BytesIO(content.numpy().tobytes()), map_location=self.own_device, weights_only=True
            )
            return found
        value = compute()
        written = io.BytesIO()
        torch.save(value, written)
        content = torch.frombuffer(written.getbuffer(), dtype=torch.uint8)
        dist.broadcast(torch.tensor([len(content)]), 0)
        dist.broadcast(content, 0)
        return value

    @torch.no_grad()
    def agree(self, *modules: nn.Module | None) -> None:
        for module in modules:
            for tensor in module.state_dict().values() if module is not None else ():
                if tensor.numel():
                    whole = tensor.contiguous()
                    dist.broadcast(whole.view(-1).view(torch.uint8), 0)  # bytes: not every type can be sent
                    if whole is not tensor:
                        tensor.copy_(whole)

    def abort(self) -> None:
        """Let what waits for a process that is gone fail."""
        dist.group.WORLD.abort()  # type: ignore[union-attr]

    def leave(self, *, broken: bool) -> None:
        """End the connections.

        Args:
            broken: a process may be gone, so nothing that is under way can be waited for.
        """
        if broken:
            self.abort()
        dist.destroy_process_group()
        self.joined = False
