"""How numbers are held and rounded: what ``precision`` means on each device.

``paper`` computes in single precision, and the same way every time. ``fast`` may round differently where the device
gains by it: bfloat16 autocast where there are units for it, TF32 and cuDNN's fastest kernels on CUDA. On a CPU
without bfloat16 units the two are the same: there autocast took 10 times as long (MobileNetV2, AVX2).
"""

from functools import lru_cache

import torch
from torch import nn

from plml.config import Precision


def set_rounding(device: torch.device, precision: Precision) -> None:
    """Set the process-wide switches of CUDA's libraries for ``precision``; nothing to do elsewhere."""
    if device.type == "cuda":
        fast = precision == "fast"
        torch.backends.cuda.matmul.allow_tf32 = fast
        torch.backends.cudnn.allow_tf32 = fast
        torch.backends.cudnn.benchmark = fast
        torch.backends.cudnn.deterministic = not fast


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context of a forward pass: bfloat16 under ``fast``, if the device is quicker with it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "fast" and has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than single precision."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type != "cpu" or _cpu_has_bfloat16()


@lru_cache
def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def lay_out(network: nn.Module, device: torch.device, precision: Precision) -> None:
    """Lay the weights of convolutions channels last, as decoded images lie, where kernels are quicker so.

    Values stay the same. On CUDA in single precision the kernels of the usual layout are kept.
    """
    if device.type == "cpu" or (device.type == "cuda" and precision == "fast"):
        network.to(memory_format=torch.channels_last)
