"""The state of MLflow's page: what is shown, in which section, in which order."""

import json
from typing import Any

from plml.tracking_view import method_colors, view_state


def state_of(**further: Any) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(view_state("selection/best", True, ["Method"], ["optim.lr"], **further))
    return state


def charts(state: dict[str, Any], section: str) -> list[dict[str, Any]]:
    return [chart for chart in state["compareRunCharts"] if chart["metricSectionId"] == f"plml-{section}"]


def test_every_chart_has_its_section() -> None:
    state = state_of(contour=("log10 optim.lr", "optim.batch_size"), curves=["diagnosis/loss_true_negatives"])
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])


def test_contour_of_two_parameters_and_scatter_of_selection_against_test() -> None:
    better = charts(state_of(contour=("log10 optim.lr", "optim.batch_size")), "figures")
    assert [chart["type"] for chart in better] == ["BAR", "BAR", "SCATTER", "CONTOUR"]
    assert (better[2]["xaxis"]["key"], better[2]["yaxis"]["key"]) == ("selection/best", "test/mAP")
    assert [(better[3][axis]["key"], better[3][axis]["type"]) for axis in ("xaxis", "yaxis", "zaxis")] == [
        ("log10 optim.lr", "PARAM"),
        ("optim.batch_size", "PARAM"),
        ("selection/best", "METRIC"),
    ]
    assert "CONTOUR" not in [chart["type"] for chart in state_of()["compareRunCharts"]]


def test_test_figures_are_not_drawn_against_themselves() -> None:
    state = json.loads(view_state("test/mAP", True, [], []))
    assert [chart["type"] for chart in charts(state, "figures")] == ["BAR"]


def test_further_curves_have_a_section_of_their_own() -> None:
    state = state_of(curves=["diagnosis/a", "diagnosis/b"])
    assert state["compareRunSections"][-1]["name"] == "Label correction"
    assert [chart["metricKey"] for chart in charts(state, "diagnosis")] == ["diagnosis/a", "diagnosis/b"]
    assert "Label correction" not in [section["name"] for section in state_of()["compareRunSections"]]


def test_kind_and_grouping_of_the_runs() -> None:
    assert state_of()["searchFilter"] == "tags.`plml.kind` = 'trial'"
    assert "groupBy" not in state_of()
    grouped = state_of(kind="run", group_by="cell")
    assert grouped["searchFilter"] == "tags.`plml.kind` = 'run'"
    assert grouped["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "cell"}]
    # MLflow draws no parallel coordinates of groups, and would show an empty section.
    assert "PARALLEL" not in [chart["type"] for chart in grouped["compareRunCharts"]]
    assert "Which settings" not in [section["name"] for section in grouped["compareRunSections"]]


def test_figures_numbers_and_learning_curves_can_be_chosen() -> None:
    state = state_of(figures=["a"], against=("b", "a"), numbers=["a", "b"], learning=["c"])
    bar, points = charts(state, "figures")
    assert (bar["type"], bar["metricKey"]) == ("BAR", "a")
    assert (points["type"], points["xaxis"]["key"], points["yaxis"]["key"]) == ("SCATTER", "b", "a")
    assert [chart["metricKey"] for chart in charts(state, "curves")] == ["c"]
    assert state["selectedColumns"][:3] == ["metrics.`a`", "metrics.`b`", "params.`optim.lr`"]


def test_a_ninth_method_begins_the_palette_again() -> None:
    colors = method_colors([f"m{i}" for i in range(9)])
    assert len(set(colors.values())) == 8
    assert colors["m8"] == colors["m0"]
