"""Which device a run uses."""

import torch

from plml.errors import ConfigError, nearest

KINDS = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA when there is one.

    Raises:
        ConfigError: the name is not a device, or the device is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in KINDS:
        raise ConfigError(f"device: there is no device '{name}'{nearest(kind, KINDS)}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: '{name}' cannot be used here ({reason}); try auto or cpu") from None
    return device
