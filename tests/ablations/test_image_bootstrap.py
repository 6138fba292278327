"""Intervals over test images: paired resamples, the bias corrected, and what happens without scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from ablations.image_bootstrap import ImageBootstrap
from ablations.outcome import CellOutcome, GridOutcome, RunOutcome
from plml.errors import DataError
from plml.image_resamples import bias_corrected_interval
from plml.metrics import multilabel_metrics


def a_run(folder: Path, scores: np.ndarray, labels: np.ndarray, seed: int = 0) -> RunOutcome:
    place = folder / f"run{seed}"
    (place / "scores").mkdir(parents=True)
    np.save(place / "scores" / "test.npy", scores)
    np.save(place / "scores" / "test_labels.npy", labels)
    return RunOutcome(seed, 0, f"f{seed}", place, {}, 0)


def a_cell(*runs: RunOutcome) -> CellOutcome:
    return CellOutcome("cell", {}, runs, planned=len(runs))


def test_first_is_the_map_itself_and_others_are_resamples(two_factors: GridOutcome) -> None:
    import torch

    cell, bootstrapped = two_factors.cells[0], ImageBootstrap(20)
    maps = bootstrapped.of_cell(cell)
    assert maps is not None
    assert maps.shape == (21,)
    assert maps[0] == pytest.approx(np.mean([run.metrics["test/mAP"] for run in cell.runs]))
    # Spelled out for one resample: its images, copied.
    weights = bootstrapped.weights(150)[:, 7].astype(int)
    assert weights.sum() == 150
    images = np.repeat(np.arange(150), weights)
    each = []
    for run in cell.runs:
        scores, labels = (np.load(run.folder / "scores" / f) for f in ("test.npy", "test_labels.npy"))
        each.append(multilabel_metrics(torch.from_numpy(scores[images]), torch.from_numpy(labels[images]))["mAP"])
    assert maps[7] == pytest.approx(np.mean(each))


def test_differences_are_paired_image_by_image(two_factors: GridOutcome) -> None:
    base, cell = two_factors.cells[0], two_factors.cells[1]
    bootstrapped = ImageBootstrap(300)
    assert np.all(bootstrapped.of_difference(base, base) == 0)
    difference, one, other = (
        bootstrapped.of_difference(cell, base),
        bootstrapped.of_cell(cell),
        bootstrapped.of_cell(base),
    )
    assert difference is not None
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(difference, one - other)
    assert difference.std() < np.hypot(one.std(), other.std())  # narrower than unpaired


def test_only_pairs_that_both_have_count(two_factors: GridOutcome) -> None:
    base, incomplete = two_factors.cells[0], two_factors.cells[-1]
    assert len(incomplete.runs) == 5
    found = ImageBootstrap(10).of_difference(incomplete, base)
    cut = ImageBootstrap(10).of_difference(incomplete, replace(base, runs=base.runs[:-1]))
    np.testing.assert_array_equal(found, cut)  # type: ignore[arg-type]


def test_without_scores_or_with_other_images_there_is_none(tmp_path: Path) -> None:
    scores, labels = np.zeros((4, 2), np.float32), np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.int8)
    one, other = a_run(tmp_path, scores, labels), a_run(tmp_path, scores, 1 - labels, seed=1)
    gone = RunOutcome(2, 0, "gone", tmp_path / "gone", {}, 0)
    bootstrapped = ImageBootstrap(5)
    assert bootstrapped.of_cell(a_cell(one)) is not None
    assert bootstrapped.of_cell(a_cell(one, other)) is None
    assert bootstrapped.of_cell(a_cell(one, gone)) is None
    assert bootstrapped.of_cell(a_cell()) is None
    assert bootstrapped.of_difference(a_cell(one), a_cell(other)) is None


def test_scores_that_do_not_fit_their_labels_are_an_error(tmp_path: Path) -> None:
    run = a_run(tmp_path, np.zeros((4, 2), np.float32), np.zeros((3, 2), np.int8))
    with pytest.raises(DataError, match=r"test\.npy is \(4, 2\) and test_labels\.npy is \(3, 2\)"):
        ImageBootstrap(5).of_cell(a_cell(run))


def test_bias_correction_is_that_of_scipy_without_skewness() -> None:
    # A symmetric sample has no acceleration, so BCa is BC; same resamples by the same generator.
    sample = np.concatenate([np.arange(1.0, 9.0), -np.arange(1.0, 9.0)])
    found = bootstrap((sample,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(5))
    values = np.r_[sample.mean(), found.bootstrap_distribution]
    assert bias_corrected_interval(values) == pytest.approx(tuple(found.confidence_interval), rel=0.01)


def test_interval_moves_against_the_bias_of_resampled_map() -> None:
    values = np.r_[0.0, np.random.default_rng(0).normal(1.0, 1.0, 4000)]  # resamples too high by one deviation
    low, high = bias_corrected_interval(values) or (0.0, 0.0)
    assert low == pytest.approx(-3, abs=0.35)
    assert high == pytest.approx(1, abs=0.1)
    assert bias_corrected_interval(np.array([1.0, np.nan])) is None
