"""The median pruner decides as Optuna's own does, on every report of random studies."""

import math
import random
import warnings
from typing import Literal

import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from tune.patience import PatiencePruner
from tune.pruning import KnownMedianPruner


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("startup", [0, 5])
def test_every_decision_is_that_of_optunas_pruner(direction: Literal["maximize", "minimize"], startup: int) -> None:
    draw = random.Random(startup)
    study = optuna.create_study(direction=direction)
    stock = MedianPruner(n_startup_trials=startup, n_warmup_steps=2)
    known = KnownMedianPruner(n_startup_trials=startup, n_warmup_steps=2)
    decisions: list[bool] = []
    for _ in range(80):
        trial = study.ask()
        pruned = False
        for step in range(1, draw.choice([3, 8, 8]) + 1):
            kinds = [draw.uniform(0, 1), draw.choice([0.25, 0.5]), math.nan]
            trial.report(draw.choices(kinds, [6, 3, 1])[0], step)
            frozen = study._storage.get_trial(trial._trial_id)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy: all-NaN slice
                expected = stock.prune(study, frozen)
            assert known.prune(study, frozen) == expected
            decisions.append(expected)
            pruned = expected and draw.random() < 0.3
            if pruned:
                break
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, *draw.choice([(0.5, None), (None, TrialState.FAIL)]))
        for _ in range(2):  # showing it again changes nothing
            known.learn(study._storage.get_trial(trial._trial_id))
    assert 20 < sum(decisions) < len(decisions) - 20


def test_patience_wraps_it() -> None:
    study = optuna.create_study(direction="maximize")
    known = KnownMedianPruner(n_startup_trials=1, n_warmup_steps=1)
    good = study.ask()
    for step in (1, 2, 3):
        good.report(1.0, step)
    study.tell(good, 1.0)
    known.learn(study.trials[0])
    lagging = study.ask()
    pruner = PatiencePruner(known, patience=2)
    told = []
    for step in (1, 2, 3):
        lagging.report(0.5, step)
        told.append(pruner.prune(study, study._storage.get_trial(lagging._trial_id)))
    assert told == [False, False, True]
