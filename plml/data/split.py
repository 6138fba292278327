"""Which rows of the official training part train and which validate.

Bit-exact to Cole et al. (CVPR 2021, arXiv:2106.09708), so that a split made here is the split of their tables.
"""

import numpy as np
from numpy.typing import NDArray

from plml.errors import ConfigError

Rows = NDArray[np.int64]


def split_rows(num_examples: int, val_fraction: float, split_seed: int) -> tuple[Rows, Rows]:
    """Carve a validation split from a part of ``num_examples`` rows.

    Args:
        num_examples: rows of the official training part.
        val_fraction: share of them that validates, in (0, 1); the count is rounded half to even.
        split_seed: seed of the permutation.

    Returns:
        Sorted rows of train and of val.

    Raises:
        ConfigError: one of the two would be empty.
    """
    num_val = round(val_fraction * num_examples)
    if not 0 < num_val < num_examples:
        raise ConfigError(
            f"data.val_fraction: {val_fraction} of {num_examples} examples leaves {num_val} for validation and "
            f"{num_examples - num_val} for training; both must have at least 1"
        )
    order = np.random.RandomState(split_seed).permutation(num_examples)
    cut = num_examples - num_val
    return np.sort(order[:cut]).astype(np.int64), np.sort(order[cut:]).astype(np.int64)


def subsample_rows(
    train: Rows, val: Rows, *, train_fraction: float = 1.0, val_fraction: float = 1.0, seed: int = 999
) -> tuple[Rows, Rows]:
    """Keep a random share of each split; one random stream, train first, val second.

    Args:
        train: rows that train.
        val: rows that validate.
        train_fraction: share of ``train`` kept, in (0, 1]; the count is rounded half to even.
        val_fraction: share of ``val`` kept.
        seed: seed of the stream.

    Raises:
        ConfigError: a split would be empty.
    """
    rng = np.random.RandomState(seed)
    kept = []
    for name, rows, fraction in (("train", train, train_fraction), ("val", val, val_fraction)):
        count = round(fraction * len(rows))
        if count < 1:
            raise ConfigError(f"data.subsample_{name}: {fraction} of {len(rows)} examples leaves none")
        kept.append(rows[np.sort(rng.permutation(len(rows))[:count])])
    return kept[0], kept[1]
