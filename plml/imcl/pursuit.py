"""Which few images of a dictionary explain an image, by labels and features at once: joint orthogonal pursuit.

One common support, two coefficient vectors. At most k times, with residuals r_L of the labels and r_F of the
features and correlations i_L = Y_d r_L, i_F = F_d r_F:

    score = [lambda_L i_L^2 / ||Y_d||^2 + lambda_F i_F^2 / ||F_d||^2]
            * [sign(i_L) sign(lambda_L) + sign(i_F) sign(lambda_F)]

The best-scoring image joins the support if its score reaches a threshold and it is not in there yet; then both
coefficient vectors are fitted by least squares on the support. Nothing here has a gradient.

Huynh and Elhamifar, Interactive Multi-Label CNN Learning With Partial Labels, CVPR 2020.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SAME_IMAGE = 1e-3  # features closer than this are those of the image itself
TINY = 1e-12
MANY_NEAR = 64  # close rows an image from which on subtracting everything is as fast, and takes less memory


class Support(NamedTuple):
    """Chosen dictionary rows and their coefficients, padded with zeros to k places; unused places have weight 0."""

    indices: Tensor  # (B, k) int64
    used: Tensor  # (B, k) bool
    label_weights: Tensor  # (B, k)
    feature_weights: Tensor  # (B, k)


def pursue(
    labels: Tensor,
    features: Tensor,
    dictionary_labels: Tensor,
    dictionary_features: Tensor,
    allowed: Tensor,
    *,
    neighbours: int,
    label_weight: Tensor,
    feature_weight: Tensor,
    threshold: float | Tensor,
    wasted_first: bool = False,
) -> Support:
    """Choose at most ``neighbours`` dictionary rows for every image.

    Args:
        labels: completed labels ybar (B, L).
        features: (B, D).
        dictionary_labels: Y_d (M, L).
        dictionary_features: F_d (M, D).
        allowed: (B, M) bool, rows that an image may use; those with its own features are left out besides.
        neighbours: k >= 1.
        label_weight: lambda_L >= 0, 0-d.
        feature_weight: lambda_F >= 0, 0-d.
        threshold: smallest score that joins.
        wasted_first: as the released code, whose list of chosen rows is filled with zeros: from the second step on the
            first row that an image may use counts as chosen.
    """
    with torch.no_grad():
        feature_norm = dictionary_features.square().sum(dim=1).clamp(min=TINY)
        allowed = allowed & apart(features, dictionary_features, feature_norm)
        scale = torch.maximum(label_weight, feature_weight) + 1e-4
        of_labels, of_features = label_weight / scale, feature_weight / scale
        label_norm = dictionary_labels.square().sum(dim=1).clamp(min=TINY)  # (M,)
        size = len(features)
        indices = torch.zeros(size, neighbours, dtype=torch.int64, device=features.device)
        used = torch.zeros(size, neighbours, dtype=torch.bool, device=features.device)
        chosen = torch.zeros_like(allowed)  # (B, M)
        label_weights = torch.zeros(size, neighbours, dtype=labels.dtype, device=labels.device)
        feature_weights = torch.zeros_like(label_weights)
        first = allowed & (allowed.long().cumsum(dim=1) == 1)  # (B, M)
        label_rest, feature_rest = labels, features
        places = torch.arange(neighbours, device=features.device)
        for step in range(neighbours):
            by_labels, by_features = label_rest @ dictionary_labels.T, feature_rest @ dictionary_features.T  # (B, M)
            score = of_labels * by_labels**2 / label_norm + of_features * by_features**2 / feature_norm
            score = score * (by_labels.sign() * of_labels.sign() + by_features.sign() * of_features.sign())
            best, index = score.masked_fill(~allowed, -torch.inf).max(dim=1, keepdim=True)  # (B, 1)
            taken = chosen | first if wasted_first and step > 0 else chosen
            joins = (best >= threshold) & ~taken.gather(1, index)  # (B, 1)
            chosen = chosen | (torch.zeros_like(chosen).scatter(1, index, True) & joins)
            place = (places == step) & joins  # (B, k)
            indices, used = torch.where(place, index, indices), used | place
            label_weights, label_rest = _fit(labels, dictionary_labels[indices], used)
            feature_weights, feature_rest = _fit(features, dictionary_features[indices], used)
        return Support(indices, used, label_weights, feature_weights)


def apart(features: Tensor, rows: Tensor, row_norms: Tensor) -> Tensor:
    """Return whether features (B, D) and ``rows`` (M, D) are those of different images, (B, M) bool.

    Distances that are clearly large come from one matrix product, which on CPU takes a twentieth of the time; only
    where its rounding could hide a copy are coordinates subtracted.

    Args:
        features: (B, D).
        rows: (M, D).
        row_norms: their squared norms, (M,).
    """
    if features.device.type != "cpu" or torch.compiler.is_compiling():  # subtracting is fast, looking at counts is not
        return torch.cdist(features, rows, compute_mode="donot_use_mm_for_euclid_dist") >= SAME_IMAGE
    sizes = features.square().sum(dim=1, keepdim=True) + row_norms  # (B, M)
    rounding = 2 * features.shape[1] * torch.finfo(features.dtype).eps * sizes  # a sum of D products is no worse
    near = sizes - 2 * (features @ rows.T) < SAME_IMAGE**2 + rounding
    if near.sum() > MANY_NEAR * len(features):
        return torch.cdist(features, rows, compute_mode="donot_use_mm_for_euclid_dist") >= SAME_IMAGE
    image, row = near.nonzero(as_tuple=True)
    near[image, row] = (features[image] - rows[row]).norm(dim=1) < SAME_IMAGE
    return ~near


def _fit(target: Tensor, rows: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Return least-squares weights (B, k) of the used ``rows`` (B, k, E) for ``target`` (B, E), and what is left of it.

    Images may have equal labels, so the normal equations can be singular: the shortest solution is taken.
    """
    rows = rows * used[:, :, None]
    precision = torch.finfo(rows.dtype).eps ** 0.75
    inverse = torch.linalg.pinv(rows @ rows.mT, rtol=precision, hermitian=True)  # (B, k, k)
    weights = (target[:, None] @ rows.mT @ inverse)[:, 0]  # (B, k)
    return weights, target - (weights[:, None] @ rows)[:, 0]


def residual(target: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return target (B, E) minus the weighted sum of ``rows`` (B, k, E); gradients reach both, not the weights."""
    return target - (weights.detach()[:, None] @ rows)[:, 0]
