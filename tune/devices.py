"""The devices of a trial: a share of a GPU, one, or several of one machine that train it together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from plml.config import make_config
from plml.distributed import Group, open_group


def device_count(gpus: float) -> int:
    """Return how many devices train a trial that occupies ``gpus`` GPUs; a fraction, and none, is one device."""
    return max(1, int(gpus))


@contextmanager
def trial_group(tree: Mapping[str, Any], gpus: float) -> Iterator[Group]:
    """Open the processes that train a trial; see :func:`plml.distributed.open_group`.

    On a worker without CUDA, where the GPUs of a cluster are names only, they compute on its CPU.

    Args:
        tree: resolved configuration, nested.
        gpus: that the trial occupies.
    """
    with open_group(make_config(tree), device_count(gpus)) as group:
        yield group
