"""A stretch of training with its own data and rate, and the seeds that its random draws come from."""

import hashlib
from dataclasses import dataclass

from plml.data.bundle import Bundle


def derive_seed(seed: int, *names: object) -> int:
    """Return a 63-bit seed that depends on ``seed`` and ``names`` only."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own data, rate and batch size."""

    bundle: Bundle
    epochs: int
    lr: float
    batch_size: int
