"""How far mAP would move with other test images: bootstrap resamples of the test set, and intervals from them.

mAP of a resample is too high on average: an image that was drawn twice stands right above itself. Percentiles of
resamples are therefore off; the interval here corrects their bias by the share of resamples below the mAP itself
(Efron, Canadian Journal of Statistics 9, 1981). An acceleration on top of it (BCa) changed nothing
(``docs/statistics.md``).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RESAMPLES = 1000


def resample_weights(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Return how often each image counts: once, and as often as each resample has it, (N, 1 + R) float32.

    Args:
        images: N.
        resamples: R.
        seed: of the draws; the same numbers of images meet the same resamples.
    """
    generator = np.random.default_rng(seed)
    counts = np.ones((images, 1 + resamples), dtype=np.float32)
    for column in range(1, 1 + resamples):
        counts[:, column] = np.bincount(generator.integers(0, images, images), minlength=images)
    return counts


def bias_corrected_interval(values: Array, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of an estimate and its resamples, (1 + R,); None if some are not numbers.

    The percentiles are those of levels Phi(2 z0 -+ z), with Phi(z0) the share of resamples below the estimate, so
    without bias they are the usual ones.
    """
    if np.isnan(values).any():
        return None
    from scipy.special import ndtr, ndtri

    estimate, resampled = values[0], values[1:]
    share = (np.mean(resampled < estimate) + np.mean(resampled <= estimate)) / 2
    rarest = 0.5 / len(resampled)
    bias = ndtri(np.clip(share, rarest, 1 - rarest))
    low, high = np.quantile(resampled, ndtr(2 * bias + ndtri([(1 - level) / 2, (1 + level) / 2])))
    return float(low), float(high)
