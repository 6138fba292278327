"""Diagnostics of label correction: right figures, and no influence on training."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml.checkpoint import load_checkpoint
from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle, Split
from plml.diagnostics import correction_figures
from plml.labels import as_tensor
from plml.population import is_stackable
from plml.pseudo_labels import PseudoLabels
from plml.report_log import read_reports
from plml.trainer import Trainer

ASK = "label_correction"


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_hand_worked_case() -> None:
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.5, -2.0, 3.0]])
    truth = as_tensor([[1, 1, 0], [0, 1, -1]])  # nobody verified the last entry
    observed = as_tensor([[1, -1, -1], [-1, -1, -1]])
    positive = torch.tensor([[True, True, False], [True, False, True]])  # the first one is known, so it is no guess
    negative = torch.tensor([[False, False, True], [False, True, False]])
    found = correction_figures(logits, observed, truth, PseudoLabels(positive, negative))
    assert found == pytest.approx(
        {
            "diagnosis/loss_false_negatives": (softplus(1.0) + softplus(-2.0)) / 2,
            "diagnosis/loss_true_negatives": (softplus(-1.0) + softplus(0.5)) / 2,
            "diagnosis/loss_observed_positives": softplus(-2.0),
            "diagnosis/pseudo_positive_share": 100 * 3 / 5,
            "diagnosis/pseudo_positive_precision": 100 * 1 / 2,
            "diagnosis/pseudo_positive_recall": 100 * 1 / 2,
            "diagnosis/pseudo_negative_share": 100 * 2 / 5,
            "diagnosis/pseudo_negative_precision": 100 * 1 / 2,
            "diagnosis/pseudo_negative_recall": 100 * 1 / 2,
        }
    )


def test_what_has_no_entries_has_no_figure() -> None:
    logits, known = torch.zeros(2, 2), as_tensor([[1, 0], [0, 1]])
    nothing = PseudoLabels(positive=torch.zeros(2, 2, dtype=torch.bool))
    assert set(correction_figures(logits, known, known, nothing)) == {"diagnosis/loss_observed_positives"}
    partly = correction_figures(logits, as_tensor([[1, -1], [-1, 1]]), known, nothing)
    assert partly["diagnosis/pseudo_positive_share"] == 0
    assert "diagnosis/pseudo_positive_precision" not in partly
    assert not any(math.isnan(value) for value in partly.values())
    assert not any("pseudo" in name for name in correction_figures(logits, known, known, None))


# -- in training ------------------------------------------------------------------------------------------


def make_bundle(*, images: bool = False, wrong_truth: bool = False) -> Bundle:
    """Each class is a direction in feature space, or a bright quadrant; one positive an image is observed."""
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        truth = (rng.random((count, 4)) < 0.4).astype(np.int8)
        truth[np.arange(count), rng.integers(0, 4, count)] = 1
        observed = np.full_like(truth, -1)
        observed[np.arange(count), (truth * rng.random(truth.shape)).argmax(axis=1)] = 1
        array: Any = (0.1 * rng.normal(size=(count, 64)) + 2 * truth @ np.eye(4, 64)).astype(np.float32)
        if images:
            array = rng.integers(0, 40, (count, 8, 8, 1), dtype=np.uint8)
            for i, j in zip(*np.nonzero(truth), strict=True):
                array[i, 4 * (j // 2) : 4 * (j // 2) + 4, 4 * (j % 2) : 4 * (j % 2) + 4] += 150
        ids = [str(i) for i in range(count)]
        return Split(ids, np.arange(count), array, torch.from_numpy(truth), torch.from_numpy(observed))

    train, val, test = split(96), split(30), split(30)
    if wrong_truth:
        train = replace(train, truth=torch.where(train.observed == 1, 1, 1 - train.truth).to(torch.int8))
    names = ["a", "b", "c", "d"]
    return Bundle("toy", names, train, val, test, expected_positives=1.9, flip=images, digest="toy", image_size=8)


def config_of(method: str, diagnostics: str | None, mode: str = "linear") -> TrainConfig:
    tree = {
        "mode": mode,
        "epochs": 3,
        "device": "cpu",
        "data": {"observation": "single_positive"},
        "optim": {"lr": 0.02, "batch_size": 16},
        "method": method,
        "diagnostics": diagnostics,
    }
    return make_config(tree)


def train(config: TrainConfig, folder: Path, bundle: Bundle) -> Trainer:
    trainer = Trainer(config, bundle, folder)
    for _ in trainer.epochs():
        pass
    return trainer


def same(one: object, other: object) -> bool:
    """Whether two records are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor)
        return torch.equal(one, other)
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize(
    ("method", "mode"), [("ll_r", "linear"), ("ll_cp", "end_to_end"), ("role", "linear"), ("em_apl", "linear")]
)
def test_weights_are_the_same_bit_for_bit_with_and_without_diagnostics(method: str, mode: str, tmp_path: Path) -> None:
    bundle = make_bundle(images=mode == "end_to_end")
    plain = train(config_of(method, None, mode), tmp_path / "plain", bundle)
    asked = train(config_of(method, ASK, mode), tmp_path / "asked", bundle)
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("plain", "asked"))
    for part in ("model", "method", "optimization", "stop_rule"):
        assert same(one[part], other[part]), part
    for before, after in zip(plain.history, asked.history, strict=True):
        kept = {k: v for k, v in after.metrics.items() if not k.startswith("diagnosis/") and k != "time/epoch_s"}
        assert kept == {k: v for k, v in before.metrics.items() if k != "time/epoch_s"}
        assert "diagnosis/loss_false_negatives" in after.metrics
    written = [report.metrics for report in read_reports(tmp_path / "asked")]
    assert [row["diagnosis/loss_true_negatives"] for row in written] == [
        report.metrics["diagnosis/loss_true_negatives"] for report in asked.history
    ]


def test_truth_reaches_the_diagnosis_and_nothing_else(tmp_path: Path) -> None:
    config = config_of("ll_ct", ASK)
    right = train(config, tmp_path / "right", make_bundle())
    wrong = train(config, tmp_path / "wrong", make_bundle(wrong_truth=True))
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("right", "wrong"))
    for part in ("model", "method", "optimization"):
        assert same(one[part], other[part]), part
    first, second = right.history[-1].metrics, wrong.history[-1].metrics
    assert first["diagnosis/loss_false_negatives"] == pytest.approx(second["diagnosis/loss_true_negatives"], rel=1e-12)
    assert first["diagnosis/pseudo_positive_precision"] == pytest.approx(
        100 - second["diagnosis/pseudo_positive_precision"]
    )


def test_a_learnable_problem_shows_the_memorisation_figure(tmp_path: Path) -> None:
    """False negatives cost more than true ones while the network learns, and LL-Ct marks mostly true positives."""
    metrics = train(config_of("ll_ct", ASK), tmp_path, make_bundle()).history[-1].metrics
    assert metrics["diagnosis/loss_false_negatives"] > 1.2 * metrics["diagnosis/loss_true_negatives"]
    assert metrics["diagnosis/pseudo_positive_precision"] > 90


def test_a_resumed_run_reports_the_same(tmp_path: Path) -> None:
    config, bundle = config_of("ll_cp", ASK), make_bundle()
    whole = train(config, tmp_path / "whole", bundle)
    for _ in Trainer(config, bundle, tmp_path / "parts").epochs():
        break
    resumed = train(config, tmp_path / "parts", bundle)
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {**one.metrics, "time/epoch_s": 0} == {**other.metrics, "time/epoch_s": 0}


def test_the_fingerprint_knows_it_only_when_it_is_on() -> None:
    off, on = config_of("ll_r", None), config_of("ll_r", ASK)
    assert "diagnostics" not in off.computed()
    assert on.computed()["diagnostics"] == ASK
    assert off.fingerprint != on.fingerprint


def test_a_diagnosed_run_trains_alone() -> None:
    assert is_stackable(config_of("ll_r", None))
    assert not is_stackable(config_of("ll_r", ASK))
