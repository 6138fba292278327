"""Signs of label bias: quiet for labels seen by chance, however few the images are; they speak for labels by size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from plml.config import make_config
from plml.disagreement import BOUND, FEWEST, RELIABLE, Disagreement, noise_free_correlation
from plml.label_bias import find_disagreement
from plml.stored_runs import StoredRun

IMAGES, CLASSES = 400, 6


def world(seed: int, *, by_size: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, one seen label an image, object sizes (N, L); by size, the label is the largest object's."""
    rng = np.random.default_rng(seed)
    truth = rng.random((IMAGES, CLASSES)) < 0.4
    truth[np.arange(IMAGES), rng.integers(0, CLASSES, IMAGES)] = True
    size = rng.lognormal(0, 1.2, truth.shape) * truth
    chosen = (size if by_size else truth * rng.random(truth.shape)).argmax(1)
    observed = np.full(truth.shape, -1, dtype=np.int8)
    observed[np.arange(IMAGES), chosen] = 1
    return truth.astype(np.int8), observed, size


def stored_runs(folder: Path, seed: int, *, by_size: bool, setting: str = "single_positive") -> tuple[StoredRun, ...]:
    """Ten models of different quality as runs leave them behind."""
    truth, observed, size = world(seed, by_size=by_size)
    rng = np.random.default_rng(seed + 1)
    config = make_config({"data": {"observation": setting}, "method": "role"})
    runs = []
    for number, noise in enumerate(np.linspace(0.3, 3.0, 10)):
        scores = folder / str(number) / "scores"
        scores.mkdir(parents=True)
        k = float(truth.sum() / len(truth))
        np.savez(scores / "labels.npz", truth=truth, observed=observed, expected_positives=k)
        logits = (size + rng.normal(0, noise, size.shape)).astype(np.float32)
        np.save(scores / "val_0002.npy", logits)
        runs.append(StoredRun(folder / str(number), config, "toy", 2, (2,), {2: 50.0}))
    return tuple(runs)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("by_size", [False, True])
def test_labels_by_size_are_told_from_labels_by_chance(tmp_path, seed, by_size):
    found = find_disagreement(stored_runs(tmp_path, seed, by_size=by_size))
    assert found.models == 10
    assert found.error > 0
    assert found.warns == by_size, (found.implied, found.error, found.declared)


@pytest.mark.parametrize("setting", ["candidate_set", "known_fraction", "fully_observed"])
def test_other_settings_are_never_suspected(tmp_path, setting):
    assert find_disagreement(stored_runs(tmp_path, 0, by_size=True, setting=setting)) is None


def test_the_truth_is_not_looked_at(tmp_path):
    runs = stored_runs(tmp_path, 0, by_size=True)
    before = find_disagreement(runs)
    with np.load(runs[0].folder / "scores" / "labels.npz") as arrays:
        observed, k = arrays["observed"], arrays["expected_positives"]
    lies = np.ones_like(observed)
    np.savez(runs[0].folder / "scores" / "labels.npz", truth=lies, observed=observed, expected_positives=k)
    assert find_disagreement(runs) == before


def test_few_models_and_few_labels_say_nothing(tmp_path):
    runs = stored_runs(tmp_path, 0, by_size=True)
    assert find_disagreement(runs[: FEWEST - 1]).correlation is None
    few = np.full((8, CLASSES), -1, dtype=np.int8)
    few[:, 0] = 1
    for run in runs:
        np.savez(run.folder / "scores" / "labels.npz", truth=few, observed=few, expected_positives=2.0)
        np.save(run.folder / "scores" / "val_0002.npy", torch.randn(8, CLASSES).numpy())
    found = find_disagreement(runs)
    assert (found.implied, found.error) == (None, 0.0)
    assert not found.warns


def noisy(values: np.ndarray, spread: float, rng: np.random.Generator, halves: int = 40) -> np.ndarray:
    return values + rng.normal(0, spread, (halves, len(values)))


def test_the_noise_of_few_images_is_taken_out():
    rng = np.random.default_rng(0)
    quality = rng.normal(size=60)
    one, two = noisy(quality, 0.6, rng), noisy(quality, 0.6, rng)
    assert np.mean([spearmanr(a, b).statistic for a, b in zip(one, two, strict=True)]) < 0.8
    assert noise_free_correlation(one, two) == pytest.approx(1.0, abs=0.05)
    other = 0.5 * quality + np.sqrt(0.75) * rng.normal(size=60)
    expected = spearmanr(quality, other).statistic
    assert noise_free_correlation(one, noisy(other, 0.6, rng)) == pytest.approx(expected, abs=0.1)


def test_two_halves_by_hand():
    one = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    assert noise_free_correlation(one, one) == pytest.approx(1.0)
    assert noise_free_correlation(one, [[3.0, 2.0, 1.0]] * 2) == pytest.approx(-1.0)
    assert noise_free_correlation(one, [[1.0, 1.0, 1.0]] * 2) is None
    assert noise_free_correlation(one, [[1.0, 2.0, 3.0], [2.0, 3.0, 1.0]]) is None  # -0.5 with itself
    assert 0 < RELIABLE < 1


def test_reasons():
    assert not Disagreement(BOUND, FEWEST).warns
    assert not Disagreement(BOUND - 0.01, FEWEST - 1).warns
    [reason] = Disagreement(BOUND - 0.01, FEWEST).reasons
    assert f"below {BOUND:g}" in reason
    assert not Disagreement(None, FEWEST, implied=2.75, error=0.01, declared=3.0).warns  # too near
    assert not Disagreement(None, FEWEST, implied=2.5, error=0.4, declared=3.0).warns  # too unsure
    assert not Disagreement(None, FEWEST, implied=1.0, error=0.1).warns  # nothing is declared
    [reason] = Disagreement(None, 1, implied=2.5, error=0.2, declared=3.0).reasons
    assert "implies 2.50 ± 0.20 positives an image" in reason
