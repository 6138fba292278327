"""What a run tells its caller after each evaluated epoch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch.

    Attributes:
        epoch: 0-based, counted through all stages of the run.
        metrics: ``{"val/mAP": 71.2, ...}``; ratios in percent, losses as they are; never NaN.
        time: seconds since 1970 at which the epoch was evaluated; together with ``epoch`` it names the
            report, so telling it twice to a tracking server leaves one point.
        final: no further epoch follows (last epoch, or a stopping rule); ``test/...`` figures are in.
    """

    epoch: int
    metrics: Mapping[str, float]
    time: float
    final: bool = False
