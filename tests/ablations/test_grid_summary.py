"""The numbers of a grid: pairing, blocks, families of comparisons, what is missing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from ablations.outcome import GridOutcome
from ablations.significance import holm
from ablations.summary import GridSummary, summarise
from ablations.terminal_table import render
from ablations.wording import conclusion, protocol
from plml.errors import ConfigError

MakeGrid = Callable[[dict[str, dict[tuple[int, int], float]]], GridOutcome]


@pytest.fixture(scope="module")
def summary(two_factors: GridOutcome) -> GridSummary:
    return summarise(two_factors, resamples=100)


def shown(summary: GridSummary) -> str:
    console = Console(width=200, record=True)
    with console.capture() as capture:
        console.print(render(summary))
    return capture.get()


def test_a_hand_worked_grid(make_grid: MakeGrid) -> None:
    base = {(0, 0): 50.0, (1, 0): 52.0, (2, 0): 54.0}
    found = summarise(make_grid({"base": base, "up": {(0, 0): 54.0, (1, 0): 57.0, (2, 0): 60.0}}))
    one, two = found.cells
    assert (one.n, one.mean, one.std, one.place, one.baseline) == (3, 52.0, 2.0, 2, True)
    assert one.interval == pytest.approx(stats.t.interval(0.95, 2, 52, 2 / np.sqrt(3)))
    assert two.place == 1
    assert two.difference is not None
    assert (two.difference.mean, two.difference.n) == (5.0, 3)
    p = stats.ttest_rel([54, 57, 60], [50, 52, 54]).pvalue
    assert two.difference.p == pytest.approx(p)
    assert two.difference.p_holm == pytest.approx(p)  # a family of one
    assert two.difference.interval == pytest.approx(stats.t.interval(0.95, 2, 5, 1 / np.sqrt(3)))
    assert two.difference.significant
    assert two.images is None
    assert one.difference is None


def test_pairs_are_by_seed_and_draw_not_by_place(make_grid: MakeGrid) -> None:
    base = {(0, 0): 10.0, (0, 1): 20.0, (1, 0): 30.0, (1, 1): 40.0}
    other = dict(reversed([((s, d), v + 1 + 0.1 * s + 0.2 * d) for (s, d), v in base.items()]))
    (_, cell) = summarise(make_grid({"base": base, "other": {**other, (9, 9): 99.0}})).cells
    assert cell.difference is not None
    assert cell.difference.n == 4  # (9, 9) has no partner
    assert cell.difference.mean == pytest.approx(1.15)
    assert cell.n == 5


def test_a_cell_without_draws_is_paired_with_every_draw(make_grid: MakeGrid) -> None:
    base = {(s, d): 50.0 + s + 3 * d for s in range(3) for d in range(2)}
    grid = make_grid({"base": base, "all labels": {(s, 0): 60.0 + 2 * s for s in range(3)}})
    undrawn = replace(grid.cells[1], drawn=False)
    for cells, sign in (((grid.cells[0], undrawn), 1), ((undrawn, grid.cells[0]), -1)):
        difference = summarise(replace(grid, cells=cells, baseline=cells[0].label)).cells[1].difference
        assert difference is not None
        assert difference.n == 6
        assert difference.mean == pytest.approx(sign * 9.5)
    as_drawn = summarise(grid).cells[1].difference
    assert as_drawn is not None
    assert as_drawn.n == 3


def test_one_run_has_neither_deviation_nor_interval_nor_p(make_grid: MakeGrid) -> None:
    found = summarise(make_grid({"base": {(0, 0): 50.0}, "other": {(0, 0): 60.0}}))
    cell = found.cells[1]
    assert cell.std is None
    assert cell.interval is None
    assert cell.bootstrap is None
    assert cell.difference is not None
    assert cell.difference.mean == 10
    assert cell.difference.p_holm is None
    assert not cell.difference.significant
    assert set(cell.figures()) == {"n", "mean", "place", "difference/mean", "difference/n"}
    assert "cannot be tested" in " ".join(conclusion(found))
    assert "60.00 " in shown(found)
    assert "±" not in shown(found).split("p (Holm)")[1]


def test_order_of_cells_does_not_change_their_numbers(two_factors: GridOutcome, summary: GridSummary) -> None:
    turned = summarise(replace(two_factors, cells=two_factors.cells[::-1]), resamples=100)
    assert {cell.label: cell for cell in turned.cells} == {cell.label: cell for cell in summary.cells}


def test_same_outcome_same_numbers(two_factors: GridOutcome, summary: GridSummary) -> None:
    assert summarise(two_factors, resamples=100) == summary


def test_holm_is_over_all_comparisons_of_the_grid(summary: GridSummary) -> None:
    differences = [cell.difference for cell in summary.cells if cell.difference is not None]
    assert len(differences) == 5
    assert [d.p_holm for d in differences] == holm([d.p for d in differences])


def test_blocks_have_their_own_baseline_and_their_own_family(across_settings: GridOutcome) -> None:
    found = summarise(across_settings)
    assert len(found.blocks) == 6
    for block in found.blocks:
        cells = found.of_block(block)
        assert [cell.label for cell in cells if cell.baseline] == [f"{block}, an"]
        differences = [cell.difference for cell in cells if cell.difference is not None]
        assert {d.baseline for d in differences} == {f"{block}, an"}
        assert [d.p_holm for d in differences] == holm([d.p for d in differences])
        assert sorted(cell.place or 0 for cell in cells) == [1, 2, 3, 4, 5]
    assert found.ranking is not None
    assert found.ranking.names == ("an", "an_ls", "wan", "epr", "role")
    assert found.ranking.average[4] == 1


def test_a_block_that_lacks_a_treatment_is_not_ranked(across_settings: GridOutcome) -> None:
    cells = [replace(c, runs=()) if c.label == "biased, wan" else c for c in across_settings.cells]
    found = summarise(replace(across_settings, cells=tuple(cells)))
    assert found.ranking is not None
    assert "biased" not in found.ranking.blocks
    assert len(found.ranking.blocks) == 5
    empty = next(cell for cell in found.cells if cell.label == "biased, wan")
    assert (empty.n, empty.mean, empty.place, empty.difference) == (0, None, None, None)


def test_class_differences_are_means_over_pairs(two_factors: GridOutcome, summary: GridSummary) -> None:
    base, cell = two_factors.cells[0], two_factors.cells[-1]
    by_pair = {run.pair: np.array(run.class_ap) for run in base.runs}
    expected = np.mean([np.array(run.class_ap) - by_pair[run.pair] for run in cell.runs], axis=0)
    assert summary.cells[-1].difference is not None
    assert summary.cells[-1].difference.classes == pytest.approx(expected)
    assert np.mean(expected) == pytest.approx(summary.cells[-1].difference.mean)


def test_a_class_without_positives_has_no_difference(two_factors: GridOutcome) -> None:
    cells = [
        replace(cell, runs=tuple(replace(run, class_ap=(None, *run.class_ap[1:])) for run in cell.runs))
        for cell in two_factors.cells[:2]
    ]
    found = summarise(replace(two_factors, cells=tuple(cells)), resamples=10)
    assert found.cells[1].difference is not None
    assert found.cells[1].difference.classes[0] is None
    assert found.cells[1].difference.classes[1] is not None


def test_image_intervals_hold_the_mean_and_come_only_with_test_map(
    two_factors: GridOutcome, summary: GridSummary
) -> None:
    for cell in summary.cells:
        assert cell.images is not None
        assert cell.mean is not None
        assert cell.images[0] < cell.mean < cell.images[1]
    other = summarise(replace(two_factors, metric="val/mAP"), resamples=10)
    assert all(cell.images is None for cell in other.cells)
    assert other.cells[0].mean == pytest.approx((summary.cells[0].mean or 0) - 1)


def test_intervals_of_percentages_end_at_their_bounds(make_grid: MakeGrid) -> None:
    (cell, _) = summarise(make_grid({"a": {(0, 0): 3.0, (1, 0): 98.0}, "b": {}})).cells
    assert cell.interval == (0.0, 100.0)


def test_other_tests_by_name(two_factors: GridOutcome, summary: GridSummary) -> None:
    plain = summarise(two_factors, test="paired_t", resamples=10)
    assert plain.cells[3].difference is not None
    assert summary.cells[3].difference is not None
    base, cell = (np.array([run.metrics["test/mAP"] for run in two_factors.cells[i].runs]) for i in (0, 3))
    assert plain.cells[3].difference.p == pytest.approx(stats.ttest_rel(cell, base).pvalue)
    assert (summary.cells[3].difference.p or 0) > (plain.cells[3].difference.p or 0)
    with pytest.raises(ConfigError, match="did you mean 'paired_t'"):
        summarise(two_factors, test="paired-t")


def test_without_a_baseline_there_are_no_differences(two_factors: GridOutcome) -> None:
    found = summarise(replace(two_factors, baseline=None), resamples=10)
    assert all(cell.difference is None and not cell.baseline for cell in found.cells)
    assert "baseline" not in " ".join([*conclusion(found), *protocol(found)])


def test_words_say_what_is_significant_and_how_it_was_selected(
    across_settings: GridOutcome, summary: GridSummary
) -> None:
    clean = summarise(across_settings)
    words = " ".join(conclusion(clean))
    assert "role has the highest test/mAP" in words
    assert "Significantly better than the baseline an: wan (" in words
    assert "Not significantly different from the baseline an: an_ls" in words
    assert "Friedman's test (Iman-Davenport): p < 0.001" in words
    assert "which the label setting does not provide" in " ".join(protocol(clean))
    assert "that draw only" in " ".join(protocol(clean))
    how = " ".join(protocol(summary))
    assert "16 trials of its own search" in how
    assert "Not complete: ll_ct, on." in how
    assert "one degree of freedom" in how


def test_terminal_table_has_every_cell_and_its_state(summary: GridSummary) -> None:
    text = shown(summary)
    for cell in summary.cells:
        assert cell.label in text
        assert f"{cell.mean:.2f}" in text
    assert "5 of 6" in text
    assert "incomplete" in text
    assert text.index("ll_ct, on") < text.index("an, off")  # best first
