"""What MLflow is told and in which form: parameters as text, metrics as points, reports in batches."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from plml.report import EpochReport
from plml.tracking_view import log10_name

DELIVERED = "time/epoch"  # one point a report, in the same transaction as its metrics: the receipt of a delivery
FIRST = "selection/best"  # MLflow's compare page opens on the metric that was written first
NOTES = "mlflow.note.content"  # the tag of a run or an experiment that is shown as its description
_PARAM_CHARS = 6000  # what MLflow stores of a parameter's value
_METRICS_PER_BATCH = 1000


def flat_params(params: Mapping[str, Any], log_scaled: Collection[str] = ()) -> dict[str, str]:
    """Return parameters as MLflow stores them: text, lists as JSON, None as ``none``, at most 6000 characters.

    Two are added for MLflow's compare page, which draws the first three parameters that differ, in the order of
    their names, on linear axes: ``Method`` (upper case comes first), and ``log10 PATH`` of positive values.

    Args:
        params: ``{dotted path: value}``.
        log_scaled: paths searched on a log scale.
    """
    texts = {path: _text(value)[:_PARAM_CHARS] for path, value in params.items()}
    if "method.name" in texts:
        texts["Method"] = texts["method.name"]
    for path in log_scaled:
        value = params.get(path)
        if isinstance(value, int | float) and value > 0:
            texts[log10_name(path)] = f"{math.log10(value):.4f}"
    return texts


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)


def metric_points(report: EpochReport) -> list[tuple[str, float, int, int]]:
    """Return ``(key, value, milliseconds since 1970, step)`` of every finite metric, the receipt last."""
    stamp = round(report.time * 1000)
    figures = sorted(report.metrics.items(), key=lambda item: item[0] != FIRST)
    pairs = [*figures, (DELIVERED, report.epoch)]
    return [(key, float(value), stamp, report.epoch) for key, value in pairs if math.isfinite(value)]


def batches(reports: Sequence[EpochReport]) -> list[list[EpochReport]]:
    """Group reports so that a batch keeps MLflow's limit and a report is never torn unless it alone exceeds it."""
    batches: list[list[EpochReport]] = []
    room = 0
    for report in reports:
        size = len(report.metrics) + 1
        if size > room:
            batches.append([])
            room = _METRICS_PER_BATCH
        batches[-1].append(report)
        room -= size
    return batches
