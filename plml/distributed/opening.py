"""Open a group of devices: check what is asked for, start the processes, end them whatever happens."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from plml.config import TrainConfig
from plml.device import pick_device
from plml.distributed.errors import DeviceGroupError
from plml.distributed.group import ALONE, Group
from plml.errors import ConfigError

TIMEOUT_S = 300.0


@contextmanager
def open_group(config: TrainConfig, devices: int, *, timeout_s: float = TIMEOUT_S) -> Iterator[Group]:
    """Start the processes of a training on ``devices`` devices of this machine; they end with the block.

    With one device nothing is started. On CUDA they are the first GPUs that this process sees; elsewhere every
    process computes on the CPU with ``config.threads`` threads of its own.

    Args:
        config: what will be trained: a :class:`plml.trainer.Trainer` takes the group.
        devices: >= 1.
        timeout_s: how long a process waits for another one in the middle of an epoch before both give up.

    Raises:
        ConfigError: the configuration cannot be trained on so many devices here.
        DeviceGroupError: another process died, raised or did not answer; the message has its reason.
    """
    first = check_devices(config, devices)
    if devices == 1:
        yield ALONE
        return
    from plml.distributed.leader import Leader

    leader = Leader(devices, first, timeout_s)
    good = False
    try:
        yield leader
        good = True
    except Exception as error:
        reason = leader.reason(error)
        if reason is None:
            raise
        raise DeviceGroupError(reason) from error
    finally:
        leader.end(broken=not good)


def check_devices(config: TrainConfig, devices: int) -> torch.device:
    """Return the first of ``devices`` devices that ``config`` is to be trained on.

    Raises:
        ConfigError: there are not so many, or the configuration cannot be trained on several.
    """
    first = pick_device(config.device)
    if devices < 1:
        raise ConfigError(f"--devices: a training needs one device at least, got {devices}")
    if devices == 1:
        return first
    if first.index is not None:
        raise ConfigError(f"device: '{config.device}' names one device, and {devices} are asked for; use auto or cuda")
    if first.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: several devices train together on cuda or cpu, got '{config.device}'")
    there = torch.cuda.device_count() if first.type == "cuda" else devices
    if devices > there:
        raise ConfigError(f"--devices: {devices} GPUs are asked for, and this process sees {there}")
    if config.compile == "always":
        raise ConfigError(f"compile: 'always' is for one device, and {devices} are asked for; set it to auto or never")
    return torch.device("cuda", 0) if first.type == "cuda" else first
