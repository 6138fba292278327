"""The page of MLflow that a printed link opens: which columns, which charts, in which order.

MLflow's runs table shows neither metrics nor parameters by itself, and its charts are one for each metric in
alphabetical order. The state of the page may be shared, though: the page reads it from a tag of the experiment
(``mlflow.sharedViewState.KEY``, what its own "Share" button writes) when the link bears ``viewStateShareKey=KEY``.
Verified by eye and by ``tests/browser`` on MLflow 3.17; a version that knows other keys ignores them.
"""

import json
from collections.abc import Sequence
from typing import Any

VIEW_KEY = "plml"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
# Okabe and Ito's palette, told apart with any kind of colour vision; yellow is too pale for lines on white.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#5B4B9A", "#7F7F7F")


def method_colors(methods: Sequence[str]) -> dict[str, str]:
    """Return ``{method: #RRGGBB}``, the same in MLflow and in figures; a ninth method begins the palette again."""
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(dict.fromkeys(methods))}


def view_tag(key: str) -> str:
    """Return the experiment's tag that holds the state of the page under ``key``."""
    return f"mlflow.sharedViewState.{key}"


def log10_name(path: str) -> str:
    """Return the name of the extra parameter that holds the decimal logarithm of ``path``."""
    return f"log10 {path}"


def view_state(
    metric: str,
    maximize: bool,
    axes: Sequence[str],
    columns: Sequence[str],
    *,
    kind: str = "trial",
    contour: tuple[str, str] | None = None,
    figures: Sequence[str] = (),
    against: tuple[str, str] | None = None,
    numbers: Sequence[str] = (),
    learning: Sequence[str] = (),
    curves: Sequence[str] = (),
    group_by: str | None = None,
) -> str:
    """Return the page's state as JSON.

    Args:
        metric: what trials are judged by; sorts the runs and colours the lines.
        maximize: whether larger is better.
        axes: parameters of the parallel coordinates. A run without one of them may be left out there, and runs that
            are grouped are not drawn.
        columns: parameters shown in the table.
        kind: the runs that are shown, by their tag ``plml.kind``.
        contour: two numeric parameters over which ``metric`` is drawn as a contour.
        figures: metrics shown as bars; default: ``metric`` and ``test/mAP``.
        against: two metrics drawn one against the other; default: ``metric`` and ``test/mAP`` if they are two.
        numbers: metrics shown in the table; default: the figures and the number of epochs.
        learning: metrics by epoch; default: ``metric`` and ``val/mAP``.
        curves: further metrics by epoch, in a section of their own.
        group_by: a parameter; runs with the same value are shown as their mean.
    """
    figures = list(dict.fromkeys(figures or [metric, "test/mAP"]))
    learning = list(dict.fromkeys(learning or [metric, "val/mAP"]))
    shown = [f"metrics.`{name}`" for name in numbers or [*figures, "time/epoch"]]
    shown += [f"params.`{name}`" for name in columns]
    charts = []
    if group_by is None:
        parallel = {"selectedParams": list(axes), "selectedMetrics": [metric], "showAllRuns": True}
        charts.append(_chart("settings", 0, "PARALLEL", **parallel))
    charts += [_chart("figures", i, "BAR", metricKey=name) for i, name in enumerate(figures)]
    if against is None and metric != "test/mAP":  # does what selects agree with test?
        against = (metric, "test/mAP")
    if against is not None:
        x, y = (_axis(name, "METRIC") for name in against)
        charts.append(_chart("figures", 2, "SCATTER", xaxis=x, yaxis=y))
    if contour is not None:
        x, y = (_axis(name, "PARAM") for name in contour)
        charts.append(_chart("figures", 3, "CONTOUR", xaxis=x, yaxis=y, zaxis=_axis(metric, "METRIC")))
    charts += [_chart("curves", i, "LINE", metricKey=name, **_LINE) for i, name in enumerate(learning)]
    charts += [_chart("diagnosis", i, "LINE", metricKey=name, **_LINE) for i, name in enumerate(curves)]
    sections = [_section("settings", "Which settings", columns=1, height=400)] if group_by is None else []
    sections += [
        _section("figures", "Which is better", columns=2, height=360),
        _section("curves", "Learning curves", columns=2, height=360),
    ]
    if curves:
        sections.append(_section("diagnosis", "Label correction", columns=2, height=360))
    grouping = {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": group_by}]}
    return json.dumps(
        {
            "searchFilter": f"tags.`plml.kind` = '{kind}'",
            "orderByKey": f"metrics.`{metric}`",
            "orderByAsc": not maximize,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": [*shown, "tags.`plml.state`"],
            "runsHiddenMode": "FIRST_20_RUNS",
            "isAccordionReordered": True,
            "hideEmptyCharts": True,
            "compareRunSections": sections,
            "compareRunCharts": charts,
        }
        | ({"groupBy": grouping} if group_by else {})
    )


_LINE = {
    "xAxisKey": "step",
    "useGlobalXaxisKey": True,
    "lineSmoothness": 0,
    "useGlobalLineSmoothing": True,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
}


def _axis(key: str, kind: str) -> dict[str, Any]:
    return {"key": key, "type": kind, "index": 0}


def _section(uuid: str, name: str, *, columns: int, height: int) -> dict[str, Any]:
    kept = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    return {"uuid": f"plml-{uuid}", "name": name, "columns": columns, "cardHeight": height, **kept}


def _chart(section: str, place: int, kind: str, **fields: Any) -> dict[str, Any]:
    kept = {"isGenerated": False, "deleted": False, "runsCountToCompare": 20}
    if "metricKey" in fields:
        fields |= {"selectedMetricKeys": [fields["metricKey"]], "displayName": fields["metricKey"]}
    return {"uuid": f"plml-{section}-{place}", "type": kind, "metricSectionId": f"plml-{section}", **kept, **fields}
