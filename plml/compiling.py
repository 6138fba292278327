"""Compiled backbones: fewer and larger kernels, and on CUDA one launch for all of them.

Only full batches run compiled: another size would be compiled again, or run slower in general-size kernels. The last
batch of an epoch and other odd sizes take the plain path, which computes the same up to rounding.
"""

import shutil
from importlib.util import find_spec

import torch

from plml.config import Compile
from plml.errors import ConfigError


def wants_compiled(choice: Compile, device: torch.device) -> bool:
    """Return whether to compile on ``device``; ``auto`` takes CUDA where Triton is installed.

    Raises:
        ConfigError: ``always``, but there is no compiler.
    """
    if choice == "never":
        return False
    needs = "the package triton" if device.type == "cuda" else "a C++ compiler named g++ or clang++"
    able = find_spec("triton") is not None if device.type == "cuda" else _has_cpp_compiler()
    if choice == "always" and not able:
        raise ConfigError(f"compile: 'always' needs {needs}; set it to auto or never")
    return able and (choice == "always" or device.type == "cuda")


def _has_cpp_compiler() -> bool:
    return any(shutil.which(name) for name in ("g++", "clang++"))


def begin_pass(device: torch.device) -> None:
    """Say that outputs of earlier passes are no longer read, so that captured CUDA graphs may write over them."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()
