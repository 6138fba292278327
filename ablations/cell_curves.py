"""Learning curves of a cell: the mean over its runs, epoch by epoch."""

import hashlib
from collections.abc import Sequence
from statistics import fmean

from ablations.plan import CellRun
from ablations.store import finished_reports
from plml.report import EpochReport

CURVES = ("selection/best", "selection/value", "val/mAP", "train/loss")


def mean_curves(runs: Sequence[CellRun]) -> list[EpochReport]:
    """Return the means of :data:`CURVES` and of all diagnostics over ``runs``, as far as every run got.

    An epoch that some run did not reach, because it stopped early, is left out: a mean over the others would
    jump where runs end. The time is that of the last run, so the same runs give the same reports.

    Args:
        runs: finished runs of one cell.
    """
    histories = [reports for run in runs if (reports := finished_reports(run.planned.folder)) is not None]
    means = []
    for together in zip(*histories, strict=False):
        shared = set.intersection(*(set(report.metrics) for report in together))
        names = [name for name in sorted(shared) if name in CURVES or name.startswith("diagnosis/")]
        metrics = {name: fmean(report.metrics[name] for report in together) for name in names}
        means.append(EpochReport(together[0].epoch, metrics, max(report.time for report in together)))
    return means


def runs_digest(runs: Sequence[CellRun]) -> str:
    """Return what tells these runs from any other ones, 16 characters."""
    names = sorted(run.planned.folder.name for run in runs)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
