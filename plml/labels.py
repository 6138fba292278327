"""One encoding of partial labels for the whole project, and converters from the field's other ones.

``POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1`` (int8): -1 is scikit-learn's "unlabelled" and torchmetrics'
``ignore_index``. Wherever a label is known it equals the truth. Soft labels, pseudo-labels and weights
are tensors of their own, never values of a label matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1

LabelArray = NDArray[np.int8]  # (N, L) with entries POSITIVE, NEGATIVE, UNKNOWN


class Batch(NamedTuple):
    """What a method sees of one step. It holds no truth, so a method cannot peek."""

    inputs: Tensor  # images (B, C, H, W) float, or features (B, D)
    observed: Tensor  # (B, L) int8
    # (B,) int64, position in the training split: 0 .. N-1. Nobody needs the tuple method of that name.
    index: Tensor  # type: ignore[assignment]


class ModelOutput(NamedTuple):
    """What the network says of one batch."""

    logits: Tensor  # (B, L)
    features: Tensor  # (B, D), after global pooling


@dataclass(frozen=True)
class LabelInfo:
    """All that a method may know of the data set.

    Attributes:
        observed: observed labels of the training split, (N, L) int8.
        expected_positives: declared mean number of positives an image, k > 0; None when nobody declared it.
        class_names: the L names, in column order.
    """

    observed: Tensor
    expected_positives: float | None = None
    class_names: Sequence[str] = ()


def check_labels(labels: ArrayLike, where: str = "labels") -> LabelArray:
    """Return ``labels`` as an (N, L) int8 array, or raise ValueError if an entry is not in {1, 0, -1}."""
    array = np.asarray(labels)
    if array.ndim != 2:
        raise ValueError(f"{where} must have two axes (examples, classes), got shape {array.shape}")
    if not np.isin(array, (POSITIVE, NEGATIVE, UNKNOWN)).all():
        wrong = array[~np.isin(array, (POSITIVE, NEGATIVE, UNKNOWN))].flat[0]
        raise ValueError(f"{where} must hold 1 (positive), 0 (negative) or -1 (unknown) only, got {wrong}")
    return array.astype(np.int8)


def from_signed(labels: ArrayLike) -> LabelArray:
    """Convert {1 positive, -1 negative, 0 unknown} (Cole et al., Large Loss Matters, BoostLU, HCP) to ours."""
    array = check_labels(labels, "signed labels")
    return np.select([array == 1, array == -1], [POSITIVE, NEGATIVE], UNKNOWN).astype(np.int8)


def to_signed(labels: ArrayLike) -> LabelArray:
    """Convert ours to {1 positive, -1 negative, 0 unknown}; the inverse of :func:`from_signed`."""
    array = check_labels(labels)
    return np.select([array == POSITIVE, array == NEGATIVE], [1, -1], 0).astype(np.int8)


def from_nan(labels: ArrayLike) -> LabelArray:
    """Convert {1 positive, 0 negative, NaN unknown} (mlcpl) to ours."""
    array = np.asarray(labels, dtype=np.float64)
    return check_labels(np.where(np.isnan(array), UNKNOWN, array), "labels with NaN")


def from_candidates(candidates: ArrayLike) -> LabelArray:
    """Convert a candidate matrix {1 candidate, 0 not} to ours: a candidate is UNKNOWN, the rest NEGATIVE."""
    array = np.asarray(candidates)
    if array.ndim != 2 or not np.isin(array, (0, 1)).all():
        raise ValueError("candidates must be an (N, L) matrix of 0 and 1")
    return np.where(array == 1, UNKNOWN, NEGATIVE).astype(np.int8)


def as_tensor(labels: ArrayLike) -> Tensor:
    """Return an int8 (N, L) label tensor."""
    return torch.from_numpy(check_labels(labels))
