"""What a study learns from another one: ranks of configurations that fit, for the sampler alone."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from plml.errors import ConfigError
from tune.folders import StudyFolder
from tune.ledger import Ledger
from tune.records import best_trials
from tune.study import Study, load_study
from tune.warm_start import InformedSampler, find_teacher, lessons, quantiles_of

RANGE = {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}
STUDY: dict[str, Any] = {
    "base": {
        "epochs": 4,
        "data": {"name": "digits", "observation": "single_positive"},
        "method": "an",
        "optim": {"weight_decay": 1e-4},
    },
    "search_space": {"optim.lr": RANGE},
    "n_trials": 12,
}


def make_study(folder: Path, name: str, **changes: Any) -> Study:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return load_study(file)


def open_ledger(folder: Path, study: Study) -> Ledger:
    where = StudyFolder(folder / study.name)
    where.path.mkdir(exist_ok=True)
    where.storage_file.write_text(str(where.journal))
    where.study_file.write_text((folder / f"{study.name}.yaml").read_text())
    return Ledger(study, where, str(where.journal), study.budget())


def run(ledger: Ledger, *, level: float, count: int = 100) -> list[float]:
    """Train ``count`` trials whose value peaks at a learning rate of 3e-3; return the distances from it."""
    distances: list[float] = []
    while len(distances) < count and (asked := ledger.ask()) is not None:
        distance = abs(math.log10(asked.values["optim.lr"] / 3e-3))
        distances.append(distance)
        ledger.report(asked.trial, [(epoch, level - distance) for epoch in range(4)])
        if distance > 1.5:
            ledger.tell_violation(asked.trial, "diverged", "loss is nan")
        elif distance > 1.0:
            ledger.tell_pruned(asked.trial)
        else:
            ledger.tell_complete(asked.trial, level - distance)
    return distances


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a finished study ``old``."""
    output = tmp_path_factory.mktemp("results")
    run(open_ledger(output, make_study(output, "old", n_trials=40, sampler={"name": "random", "seed": 3})), level=90.0)
    return output


def warm(teacher: Path, output: Path, name: str = "new", **changes: Any) -> Ledger:
    ledger = open_ledger(output, make_study(output, name, warm_start=str(teacher / "old"), **changes))
    found = find_teacher(ledger.study, output)
    assert found is not None
    ledger.warm_start(found)
    return ledger


def test_the_first_draws_are_near_the_other_studys_best_on_another_level(teacher: Path, tmp_path: Path) -> None:
    other_data = {**STUDY["base"], "seed": 7, "data": {"name": "digits", "observation": "fully_observed"}}
    informed = warm(teacher, tmp_path, base=other_data)
    cold = open_ledger(tmp_path, make_study(tmp_path, "cold", base=other_data))
    near, far = run(informed, level=40.0), run(cold, level=40.0)
    assert len(near) == len(far) == 12
    assert sum(near) < 0.6 * sum(far)
    assert sum(near[:5]) / 5 < 0.7  # five cold draws from four decades are further away than that


def test_nothing_of_the_other_study_counts(teacher: Path, tmp_path: Path) -> None:
    ledger = warm(teacher, tmp_path)
    assert (ledger.begun(), ledger.ended(), ledger.total()) == (0, 0, 0)
    run(ledger, level=40.0)
    assert len(ledger.trials()) == len(ledger.optuna.get_trials()) == 12
    assert all(float(trial.value or 0) <= 40.0 for trial in best_trials(ledger.optuna, 12))


def test_it_draws_the_same_when_the_other_study_is_gone(teacher: Path, tmp_path: Path) -> None:
    straight = run(warm(teacher, tmp_path, "a"), level=40.0)
    first = warm(teacher, tmp_path, "b")
    begun = run(first, level=40.0, count=5)
    again = open_ledger(tmp_path, first.study)
    gone = StudyFolder(teacher / "old")
    records = gone.journal.read_bytes()
    gone.journal.write_bytes(b"")
    try:
        again.warm_start(gone)
    finally:
        gone.journal.write_bytes(records)
    assert begun + run(again, level=40.0) == straight


def test_a_parameter_that_was_fixed_there_takes_its_value(teacher: Path, tmp_path: Path) -> None:
    decay = {"type": "float", "low": 1e-6, "high": 1e-2, "log": True}
    study = make_study(tmp_path, "wide", search_space={"optim.lr": RANGE, "optim.weight_decay": decay})
    learnt, refused = lessons(study, StudyFolder(teacher / "old"))
    assert (len(learnt), refused) == (40, 0)
    assert {lesson["values"]["optim.weight_decay"] for lesson in learnt} == {1e-4}
    ledger = warm(teacher, tmp_path, "wide2", search_space={"optim.lr": RANGE, "optim.weight_decay": decay})
    asked = ledger.ask()
    assert asked is not None
    assert asked.values.keys() == {"optim.lr", "optim.weight_decay"}


def test_what_lies_outside_is_left_out(teacher: Path, tmp_path: Path) -> None:
    old = StudyFolder(teacher / "old")
    narrow = make_study(tmp_path, "narrow", search_space={"optim.lr": {**RANGE, "low": 1e-3, "high": 1e-2}})
    learnt, refused = lessons(narrow, old)
    assert len(learnt) + refused == 40
    assert learnt
    assert all(1e-3 <= lesson["values"]["optim.lr"] <= 1e-2 for lesson in learnt)
    other_method = make_study(tmp_path, "role", base={**STUDY["base"], "method": "role"})
    assert lessons(other_method, old) == ([], 40)
    one_of = {"method.name": {"type": "categorical", "choices": ["an", "role"]}, "optim.lr": RANGE}
    assert len(lessons(make_study(tmp_path, "several", search_space=one_of), old)[0]) == 40


def test_ties_share_a_quantile_and_pruned_trials_are_ranked_apart() -> None:
    study = optuna.create_study(direction="maximize")
    for value in (10.0, 30.0, 30.0, 50.0):
        study.tell(study.ask(), value)
    for value in (1.0, 2.0):
        trial = study.ask()
        trial.report(value, 1)
        study.tell(trial, state=TrialState.PRUNED)
    study.tell(study.ask(), state=TrialState.PRUNED)
    assert quantiles_of(study.trials) == {0: 0.125, 1: 0.5, 2: 0.5, 3: 0.875, 4: 0.25, 5: 0.75}


def test_without_prior_trials_the_sampler_draws_by_rank_alone() -> None:
    """TPE sees nothing but the order of values, so ranks in their place change no draw."""
    draws = []
    for informed in (False, True):
        study = optuna.create_study(direction="maximize")
        drawn: list[float] = []
        for number in range(25):
            sampler: Any = optuna.samplers.TPESampler(seed=number, multivariate=True, constant_liar=True)
            study.sampler = InformedSampler(sampler, []) if informed else sampler
            trial = study.ask()
            drawn.append(trial.suggest_float("x", 0.0, 1.0))
            study.tell(trial, 60 + 40 * drawn[-1])
        draws.append(drawn)
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": "odl"}, r"no study 'odl' in .*; did you mean 'old'"),
        ({"warm_start": "old", "sampler": {"name": "random"}}, "sampler random does not learn .* use tpe or gp"),
        ({"warm_start": "mine"}, "there is no study 'mine'"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    teacher: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_teacher(make_study(tmp_path, "mine", **changes), teacher)


def test_the_other_direction_and_oneself_are_refused(teacher: Path, tmp_path: Path) -> None:
    downward = make_study(tmp_path, "down", objective={"metric": "val/ranking_loss", "mode": "min"})
    with pytest.raises(ConfigError, match="does not optimise towards min"):
        lessons(downward, StudyFolder(teacher / "old"))
    with pytest.raises(ConfigError, match="is the study itself"):
        find_teacher(make_study(tmp_path, "old", warm_start="old"), teacher)
    assert find_teacher(make_study(tmp_path, "plain"), teacher) is None
