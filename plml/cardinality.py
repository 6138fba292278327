"""How many positives an image has, when only some of them are seen: known, declared, or estimated from scores."""

from torch import Tensor

from plml.labels import NEGATIVE, POSITIVE
from plml.mechanism import ChosenPerImage
from plml.ranks import real
from plml.standings import Places, Standings


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
    r"""Return how many positives each observed one stands for, judged by the models themselves, (..., L, W).

    The label frequency of a class, :math:`c_j = P(s_{ij} = 1 | y_{ij} = 1)`, is what the observed precision reaches
    where a class is certain, at the top of its ranking (Elkan and Noto, KDD 2008).
    """
    ranks = standings.ranks(places)
    precision = ranks.hits / ranks.above.clamp(min=1)
    # Of few images the best precision is luck: take what it exceeds by one standard error.
    sure = precision - ((precision * (1 - precision)).clamp(min=0) / ranks.above.clamp(min=1)).sqrt()
    frequency = sure.where(ranks.taken, 0.0).amax(-1, keepdim=True).clamp(1 / observed.shape[-1], 1.0)
    low, high = cardinality_bounds(mechanism, observed)
    seen = real((observed == POSITIVE).sum(-1)).clamp(min=1)
    return (1 / frequency).clamp((low / seen)[places.rows], (high / seen)[places.rows])
