"""Average precision with image weights: weight 1 is plml's, weight 2 is the image twice, weight 0 is its absence."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from plml.metrics import multilabel_metrics
from plml.weighted_precision import weighted_average_precision, weighted_mean_average_precision


def example(seed: int, images: int, classes: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of few different values, so that many are tied; labels with unknown ones and rare classes."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, (images, classes)).astype(np.float32)
    labels = generator.choice([-1, 0, 1], p=[0.15, 0.6, 0.25], size=(images, classes)).astype(np.int8)
    return scores, labels, generator.integers(0, 4, (images, 5))


def plml_map(scores: np.ndarray, labels: np.ndarray) -> float:
    return multilabel_metrics(torch.from_numpy(scores), torch.from_numpy(labels))["mAP"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5), st.sampled_from([2, 5, 1000]))
def test_weight_one_is_plain_and_other_weights_are_copies(seed: int, images: int, classes: int, levels: int) -> None:
    scores, labels, weights = example(seed, images, classes, levels)
    weights[:, 0] = 1
    found = weighted_mean_average_precision(scores, labels, weights)
    for column, value in zip(weights.T, found, strict=True):
        copies = np.repeat(np.arange(images), column)
        if (labels[copies] == 1).any():
            assert value == pytest.approx(plml_map(scores[copies], labels[copies]), abs=1e-9)
        else:
            assert np.isnan(value)


def test_one_class_agrees_with_scikit_learn_for_weights_that_are_not_whole() -> None:
    scores, labels, _ = example(3, 200, 1, 30)
    weights = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    known = labels[:, 0] >= 0
    found = weighted_average_precision(scores[:, 0], labels[:, 0], weights)
    for column, value in zip(weights.T, found, strict=True):
        expected = average_precision_score(labels[known, 0], scores[known, 0], sample_weight=column[known])
        assert value == pytest.approx(expected, abs=1e-6)


def test_worked_by_hand() -> None:
    # Order: a positive, a negative, two tied (positive, negative). AP = (1/1 + 2/4) / 2 = 0.75; with the negative
    # twice and the first positive not at all: the tied positive has 1 of 4, AP = 0.25.
    scores = np.array([3.0, 2.0, 1.0, 1.0], dtype=np.float32)
    labels = np.array([1, 0, 1, 0], dtype=np.int8)
    weights = np.array([[1, 0], [1, 2], [1, 1], [1, 1]], dtype=np.float32)
    assert weighted_average_precision(scores, labels, weights) == pytest.approx([0.75, 0.25])


def test_resamples_are_cut_into_blocks_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels, _ = example(1, 50, 3, 1000)
    weights = np.random.default_rng(1).integers(0, 3, (50, 300))
    whole = weighted_mean_average_precision(scores, labels, weights)
    monkeypatch.setattr("plml.weighted_precision.BLOCK", 1)
    np.testing.assert_array_equal(weighted_mean_average_precision(scores, labels, weights), whole)


def test_scores_that_are_not_numbers_have_no_map() -> None:
    scores, labels, weights = example(1, 20, 3, 1000)
    labels[4, 1] = 0
    scores[4, 1] = np.nan
    assert np.isnan(weighted_mean_average_precision(scores, labels, weights)).all()
