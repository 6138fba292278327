"""One encoding of partial labels for the whole project, and converters from the field's other ones.

``POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1`` (int8): -1 is scikit-learn's "unlabelled" and torchmetrics'
``ignore_index``. Wherever a label is known it equals the truth. Soft labels, pseudo-labels and weights
are tensors of their own, never values of a label matrix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1

LabelArray = NDArray[np.int8]  # (N, L) with entries POSITIVE, NEGATIVE, UNKNOWN


class Batch(NamedTuple):
    """What a method sees of one step. It holds no truth, so a method cannot peek.

    Attributes:
        inputs: images (B, C, H, W) float, or features (B, D).
        observed: (B, L) int8.
        index: (B,) int64, positions in the training split: 0 .. N-1.
    """

    inputs: Tensor
    observed: Tensor
    index: Tensor  # type: ignore[assignment]  # nobody needs the tuple method of that name


class ModelOutput(NamedTuple):
    """What the network says of one batch. What stands after ``features`` is None where there is no such thing.

    Attributes:
        logits: (B, L).
        features: (B, D), after global pooling.
        maps: (B, D, h, w), before pooling.
        class_weights: (L, D), how the head reads a feature vector; with gradient.
        class_bias: (L,).
        views: (V, B, D), pooled features of further augmented views of the same images.
    """

    logits: Tensor
    features: Tensor
    maps: Tensor | None = None
    class_weights: Tensor | None = None
    class_bias: Tensor | None = None
    views: Tensor | None = None

    def float(self) -> "ModelOutput":
        """Return the same in single precision, or in double where it is that already."""
        return ModelOutput(*(v if v is None or v.dtype == torch.float64 else v.float() for v in self))  # type: ignore[arg-type]


@dataclass(frozen=True)
class LabelInfo:
    """All that a method may know of the data set.

    Attributes:
        observed: observed labels of the training split, (N, L) int8.
        expected_positives: declared mean number of positives an image, k > 0; None when nobody declared it.
        class_names: the L names, in column order.
        feature_dim: D of the network's pooled features; None when no network is known yet.
    """

    observed: Tensor
    expected_positives: float | None = None
    class_names: Sequence[str] = ()
    feature_dim: int | None = None


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
    if (array == UNKNOWN).any():  # legal in ours, so it must be refused before NaN becomes the same number
        raise ValueError("labels with NaN must hold 1 (positive), 0 (negative) or NaN (unknown) only, got -1.0")
    return check_labels(np.where(np.isnan(array), UNKNOWN, array), "labels with NaN")


def to_nan(labels: ArrayLike) -> NDArray[np.float32]:
    """Convert ours to {1 positive, 0 negative, NaN unknown}; the inverse of :func:`from_nan`."""
    array = check_labels(labels)
    return np.where(array == UNKNOWN, np.nan, array).astype(np.float32)


def from_ack(labels: ArrayLike) -> LabelArray:
    """Convert {1 positive, 0 unknown} of EM and APL (Zhou et al., ECCV 2022, arXiv:2203.16219) to ours.

    Raises:
        ValueError: an entry v lies in [-1, 0). It is a soft negative pseudo-label with target probability -v, a guess
            of a training run and not an observation, and a label matrix holds observations only.
    """
    array = np.asarray(labels, dtype=np.float64)
    soft = (array < 0) & (array >= -1)
    if soft.any():
        raise ValueError(
            f"ack labels hold {soft.sum()} soft negative pseudo-labels, for example {array[soft].flat[0]:g}; "
            "they are guesses of a training run, which a label matrix cannot hold: convert the labels it started from"
        )
    return np.where(check_labels(array, "ack labels") == 1, POSITIVE, UNKNOWN).astype(np.int8)


def to_ack(labels: ArrayLike) -> LabelArray:
    """Convert ours to {1 positive, 0 unknown}; raise ValueError for a negative, which that encoding does not have."""
    array = check_labels(labels)
    _refuse(array == NEGATIVE, "a known negative", "ack labels have positives and unknowns only")
    return np.where(array == POSITIVE, 1, 0).astype(np.int8)


def from_candidates(candidates: ArrayLike) -> LabelArray:
    """Convert a candidate matrix {1 candidate, 0 not} to ours: a candidate is UNKNOWN, the rest NEGATIVE."""
    array = np.asarray(candidates)
    if array.ndim != 2 or not np.isin(array, (0, 1)).all():
        raise ValueError("candidates must be an (N, L) matrix of 0 and 1")
    return np.where(array == 1, UNKNOWN, NEGATIVE).astype(np.int8)


def to_candidates(labels: ArrayLike) -> LabelArray:
    """Convert ours to {1 candidate, 0 not}; raise ValueError for a known positive, which would become a mere guess."""
    array = check_labels(labels)
    _refuse(array == POSITIVE, "a known positive", "candidates do not tell known positives from unknown labels")
    return np.where(array == UNKNOWN, 1, 0).astype(np.int8)


def _refuse(lost: NDArray[np.bool_], what: str, why: str) -> None:
    """Raise ValueError naming the first entry that a conversion would lose."""
    if lost.any():
        row, column = np.argwhere(lost)[0]
        raise ValueError(f"entry ({row}, {column}) is {what} and would be lost ({lost.sum()} such entries): {why}")


@dataclass(frozen=True)
class Encoding:
    """One of the field's label encodings.

    Attributes:
        decode: to ours; raises ValueError for a value that the encoding does not have.
        encode: from ours; raises ValueError naming an entry that the encoding cannot hold.
        values: what its values mean.
    """

    decode: Callable[[ArrayLike], LabelArray]
    encode: Callable[[ArrayLike], NDArray[Any]]
    values: str


EncodingName = Literal["ours", "csl", "signed", "nan", "ack", "candidates"]

ENCODINGS: dict[str, Encoding] = {
    "ours": Encoding(check_labels, check_labels, "1 positive, 0 negative, -1 unknown"),
    "csl": Encoding(check_labels, check_labels, "1 positive, 0 negative, -1 unknown (the same as ours)"),
    "signed": Encoding(from_signed, to_signed, "1 positive, -1 negative, 0 unknown"),
    "nan": Encoding(from_nan, to_nan, "1 positive, 0 negative, NaN unknown"),
    "ack": Encoding(from_ack, to_ack, "1 positive, 0 unknown; no negatives"),
    "candidates": Encoding(from_candidates, to_candidates, "1 candidate (unknown), 0 negative; no positives"),
}


def as_tensor(labels: ArrayLike) -> Tensor:
    """Return an int8 (N, L) label tensor."""
    return torch.from_numpy(check_labels(labels))
