"""The end of a study says where labels seem to be seen by looks, and by which labels epochs were chosen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plml.disagreement import FEWEST
from plml.terminal import Terminal
from tune import label_bias as module
from tune.closing import close_study
from tune.label_bias import label_bias
from tune.ledger import Ledger
from tune.standings import Leaderboard, read_leaderboard
from tune.trial_runs import TrialRuns

STUDY: dict[str, Any] = {
    "base": {
        "epochs": 1,
        "device": "cpu",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 16, "num_val": 8, "num_test": 8, "canvas": 24},
        },
        "method": "an",
    },
    "search_space": {"optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True}},
    "n_trials": FEWEST,
}


@pytest.fixture(scope="module")
def ledger(trained_study: Callable[..., Ledger], tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return trained_study(tmp_path_factory.mktemp("bias") / "mine", STUDY, stop=-1, fail=-1)


def relabel(ledger: Ledger, *, by_size: bool, images: int = 400, classes: int = 6) -> Leaderboard:
    """Give the trials scores of another validation split, whose labels are the largest objects', or anybody's."""
    rng = np.random.default_rng(0)
    truth = rng.random((images, classes)) < 0.4
    truth[np.arange(images), rng.integers(0, classes, images)] = True
    size = rng.lognormal(0, 1.2, truth.shape) * truth
    observed = np.full(truth.shape, -1, dtype=np.int8)
    observed[np.arange(images), (size if by_size else truth * rng.random(truth.shape)).argmax(1)] = 1
    board = read_leaderboard(ledger.optuna, ledger.folder.path)
    for row in board.ranked:
        scores, k = row.run_folder / "scores", truth.sum() / images
        np.savez(scores / "labels.npz", truth=truth.astype(np.int8), observed=observed, expected_positives=k)
        np.save(scores / "val_0000.npy", (size + rng.normal(0, 0.5, size.shape)).astype(np.float32))
    return board


def closed(ledger: Ledger) -> str:
    console = Terminal(record=True, width=200)
    close_study(ledger, TrialRuns(None, ledger, warn=pytest.fail), console, unfinished=False)
    return " ".join(console.export_text().split())


def test_label_bias_is_told_at_the_end(ledger: Ledger) -> None:
    relabel(ledger, by_size=True)
    told = closed(ledger)
    assert "warning label bias is suspected: digits, single_positive" in told
    assert "epochs count from 0 and are chosen by ap_auc on observed labels" in told


def test_labels_by_chance_are_not_suspected(ledger: Ledger) -> None:
    assert label_bias(relabel(ledger, by_size=False)) == []
    assert "label bias" not in closed(ledger)


def test_nothing_is_looked_at_where_that_is_dear_or_says_little(ledger: Ledger, monkeypatch) -> None:
    board = relabel(ledger, by_size=True)
    assert label_bias(board)
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    assert label_bias(board) == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "MOST_TRIALS", FEWEST - 1)
    assert label_bias(board) == []
    monkeypatch.undo()
    scores: Path = board.ranked[0].run_folder / "scores" / "val_0000.npy"
    scores.unlink()  # one trial too few keeps scores
    assert label_bias(board) == []
