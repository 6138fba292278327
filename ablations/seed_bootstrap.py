"""The bootstrap interval over a cell's runs. With few runs it is too narrow, so tables print the t interval instead."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the BCa interval of the mean of ``values``; None with less than two.

    Bias-corrected and accelerated (Efron, JASA 82, 1987), of 2,000 resamples. It takes the values as independent.
    """
    if len(values) < 2:
        return None
    if len(set(values)) == 1:
        return values[0], values[0]
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
