"""How many positives an image has, when only some of them are seen: known, declared, or estimated from scores."""

import torch
from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE
from plml.mechanism import ChosenPerImage
from plml.ranks import real, row_sums
from plml.standings import Places, Standings

PRIOR_LABELS = 10.0  # observed positives of a class that weigh as much as all classes together
TRUST_POWER = 4
FEWEST_LABELS = 20  # of a class whose label frequency is worth a look
DEVIATIONS = 2.0  # standard errors by which a label frequency must be exceeded to be believed


def cardinality_bounds(mechanism: ChosenPerImage, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest number of positives that each image can have, (N,) float64 each.

    Args:
        mechanism: how many of its positives an image shows.
        observed: (N, L) int8.
    """
    seen = real((observed == POSITIVE).sum(-1))
    most = real((observed != NEGATIVE).sum(-1))
    if mechanism.count is None:
        return seen, most
    if mechanism.share:  # seen = floor(k * share) + count: (seen - count) / share <= k < (seen - count + 1) / share
        low = _ceil((seen - mechanism.count) / mechanism.share).maximum(seen)
        high = (_ceil((seen - mechanism.count + 1) / mechanism.share) - 1).maximum(low)
        return low, high.minimum(most).maximum(low)
    return seen, most.where(seen >= mechanism.count, seen)  # fewer than could be seen: these are all


def label_frequencies(standings: Standings, places: Places) -> Tensor:
    """Return what the precision of the observed positives reaches in every class, as a lower bound, (..., L)."""
    ranks = standings.ranks(places)
    above = ranks.above.clamp(min=1)
    bound = _lower_bound((ranks.hits / above).clamp(max=1.0), above).where(ranks.taken, 0.0)
    return bound.amax(-1).clamp(min=1.0 / len(places.counts))


def implied_cardinality(standings: Standings, places: Places) -> Tensor | None:
    """Return how many positives an image has if the label frequencies are right, mean over labels, (...,), >= 1.

    A model that is unsure makes it too large. It is too small if labels gather where classes are easy to see.

    Args:
        standings: rankings of the models.
        places: the observed positives, one an image.

    Returns:
        None if no class has enough of them.
    """
    counts = places.counts.where(places.counts >= FEWEST_LABELS, 0.0)
    if not bool(counts.any()):
        return None
    return row_sums(counts / label_frequencies(standings, places)) / counts.sum()


def _lower_bound(share: Tensor, count: Tensor) -> Tensor:
    """Return Wilson's lower bound of a share that was found in ``count`` images."""
    spread = (share * (1.0 - share) / count + DEVIATIONS**2 / (4.0 * count**2)).sqrt()
    return (share + DEVIATIONS**2 / (2.0 * count) - DEVIATIONS * spread) / (1.0 + DEVIATIONS**2 / count)


def _ceil(values: Tensor) -> Tensor:
    """Round up what is not a whole number but for its last bits."""
    return (values - 1e-9).ceil()


def image_weights(mechanism: ChosenPerImage, observed: Tensor, cardinality: Tensor) -> Tensor:
    """Return how many positives each observed one of an image stands for, k / seen, (N,) float64, >= 1.

    Args:
        mechanism: how many of its positives an image shows.
        observed: (N, L) int8.
        cardinality: (N,) or (..., N) positives of each image; brought within what the image shows.
    """
    low, high = cardinality_bounds(mechanism, observed)
    seen = real((observed == POSITIVE).sum(-1)).clamp(min=1)
    return (real(cardinality).clamp(low, high) / seen).clamp(min=1)


def estimated_weights(mechanism: ChosenPerImage, observed: Tensor, standings: Standings, places: Places) -> Tensor:
    r"""Return how many positives each observed one stands for, judged by the models themselves, (..., L, W), >= 1.

    The label frequency of a class, :math:`c_j = P(s_{ij} = 1 | y_{ij} = 1)`, is what the observed precision reaches
    where the class is certain, at the top of its ranking (Elkan and Noto, KDD 2008), as a lower bound two standard
    errors below, like the best bin estimator of Garg et al., NeurIPS 2021, arXiv:2111.00980. Classes with few labels
    lean on the others. One label an image does not tell a model that is unsure from an image with many positives, so a
    weak model would be credited with many; the weight is therefore :math:`c_j^{-q}` with :math:`q = (2 A_j - 1)^4`,
    where :math:`A_j` is the AUC of the class: all of it for a model that ranks well, none for one that ranks by chance,
    whose value is then the observed AP. :math:`A_j` comes from the PU-AUC and the share
    :math:`\pi_j = n_j (1 / c_j - 1) / (N - n_j)` of positives among the unlabelled:
    :math:`2 A_j - 1 = (2 AUC_j - 1) / (1 - \pi_j)`.
    """
    if not places.rows.shape[-1]:  # nothing is observed
        return torch.ones_like(real(standings.scores_at(places)))
    top = label_frequencies(standings, places)
    counts = places.counts
    pooled = row_sums(top.log() * counts)[..., None] / counts.sum().clamp(min=1)
    frequency = (counts * top.log() + PRIOR_LABELS * pooled) / (counts + PRIOR_LABELS)
    others = (standings.rising.shape[-1] - counts).clamp(min=1)
    hidden = (counts * ((-frequency).exp() - 1.0) / others).clamp(max=0.5)
    trust = ((2.0 * standings.auc(places) - 1.0) / (1.0 - hidden)).clamp(0.0, 1.0) ** TRUST_POWER
    weights = (-trust * frequency).exp()[..., None]  # (..., L, 1)
    low, high = cardinality_bounds(mechanism, observed)
    seen = real((observed == POSITIVE).sum(-1)).clamp(min=1)
    return weights.clamp((low / seen)[places.rows], (high / seen)[places.rows]).clamp(min=1)
