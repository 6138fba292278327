"""What a trainer asks of the processes that train with it; here for one that is alone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from plml.data.bundle import Bundle
from plml.data.share import Share
from plml.device import pick_device
from plml.labels import ModelOutput
from plml.run_folder import RunFolder

if TYPE_CHECKING:
    from plml.config import TrainConfig

T = TypeVar("T")


class Group:
    """The processes of one training; this class is a process alone, for which all of them are nothing to do.

    Attributes:
        rank: of this process, 0 for the leader.
        size: number of processes.
    """

    rank = 0
    size = 1

    def device(self, config: "TrainConfig") -> torch.device:
        """Return the device of this process.

        Raises:
            ConfigError: the configuration asks for a device that is not here.
        """
        return pick_device(config.device)

    def open_run(self, config: "TrainConfig", bundle: Bundle, folder: Path) -> RunFolder:
        """Return the run's folder, once every process has the data of the run.

        Args:
            config: what is trained.
            bundle: data of the last stage.
            folder: where the leader keeps it.
        """
        return RunFolder(folder, config, bundle)

    def begin_epoch(self, files: RunFolder) -> None:
        """Let every process begin an epoch of the run that has these files."""

    def prepare(self, model: nn.Module) -> None:
        """Make batch normalisation use the statistics of the whole batch."""

    def reduction(self, model: nn.Module) -> Callable[[], None]:
        """Return what is called after each backward pass, so that gradients of ``model`` are those of all processes."""
        return _nothing

    def share(self, count: int) -> Share:
        """Return which of ``count`` examples are this process's."""
        return Share.all_of(count)

    def gather(self, out: ModelOutput, share: Share, *, maps: bool) -> ModelOutput:
        """Return the outputs (B, ...) of the whole batch, of which ``out`` has this process's share.

        Args:
            out: of the share.
            share: see :meth:`share`.
            maps: whether anybody needs ``out.maps``; they are large.
        """
        return out

    def gather_rows(self, rows: Tensor, start: int, count: int) -> Tensor:
        """Return the matrix (count, L) of which this process computed ``rows`` (b, L) from row ``start`` on."""
        return rows

    def from_leader(self, compute: Callable[[], T]) -> T:
        """Return what ``compute`` gives in the leader: tensors and plain values."""
        return compute()

    def agree(self, *modules: nn.Module | None) -> None:
        """Give every process the leader's parameters and buffers."""


def _nothing() -> None:
    pass


ALONE = Group()
