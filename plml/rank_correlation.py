"""Whether two figures order things alike."""

from collections.abc import Sequence


def kendall(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Kendall's tau-b of pairs, in [-1, 1]; None if there are fewer than two, or a figure does not vary."""
    from scipy.stats import kendalltau

    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(kendalltau(first, second).statistic)
