"""Search spaces: what is drawn can be trained, what is written back is what was drawn, conditions hold."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plml.config import make_config
from plml.errors import ConfigError
from tune.expansion import build_space
from tune.ranges import FloatRange, IntRange, read_range
from tune.space import SearchSpace, brief

BASE = {"data": {"name": "digits", "observation": "single_positive"}, "epochs": 2}
CONDITIONAL = {
    "method.name": {"type": "categorical", "choices": ["an", "epr", "role", "wan"]},
    "method": "default",
    "optim.lr": [
        {"type": "float", "low": 1e-4, "high": 1e-3, "log": True, "when": {"method.name": ["an", "wan"]}},
        {"type": "float", "low": 1e-3, "high": 1e-2, "log": True, "when": {"method.name": ["epr", "role"]}},
    ],
    "optim.weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "log": True, "or_zero": True},
    "optim.batch_size": {"type": "int", "low": 4, "high": 64, "log": True},
    "optim.name": {"type": "categorical", "choices": ["adam", "sgd"]},
    "optim.momentum": {"type": "float", "low": 0.0, "high": 0.9, "step": 0.3, "when": {"optim.name": "sgd"}},
    "data.observation": {
        "type": "categorical",
        "choices": [{"name": "known_fraction", "fraction": 0.5}, {"name": "single_positive"}],
    },
}


def space_of(entries: dict[str, Any], base: dict[str, Any] = BASE) -> SearchSpace:
    return build_space(entries, base, make_config(base))


def draw(space: SearchSpace, seed: int) -> tuple[dict[str, Any], optuna.trial.FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    values = space.suggest(study.ask())
    return values, study.trials[0]


@pytest.fixture(scope="module")
def conditional() -> SearchSpace:
    entries = {key: value for key, value in CONDITIONAL.items() if key != "data.observation"}
    space = space_of(entries)
    space.check()
    return space


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_what_is_drawn_can_be_trained_and_written_back(conditional: SearchSpace, seed: int) -> None:
    values, trial = draw(conditional, seed)
    config = conditional.resolve(values)
    assert {path: config.flat()[path] for path in values} == values
    assert conditional.to_params(values) == trial.params
    assert conditional.distributions(trial.params) == trial.distributions
    again = optuna.create_study()
    again.enqueue_trial(conditional.to_params(values))
    assert conditional.suggest(again.ask()) == values


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_a_parameter_exists_only_under_its_condition(conditional: SearchSpace, seed: int) -> None:
    values, _ = draw(conditional, seed)
    low, high = (1e-4, 1e-3) if values["method.name"] in ("an", "wan") else (1e-3, 1e-2)
    assert low <= values["optim.lr"] <= high
    assert ("optim.momentum" in values) == (values["optim.name"] == "sgd")
    assert ("method.lr_mult" in values) == (values["method.name"] == "role")
    assert ("method.negative_weight" in values) == (values["method.name"] == "wan")


def test_one_configuration_stands_for_each_method(conditional: SearchSpace) -> None:
    found = conditional.by_method()
    assert tuple(found) == conditional.methods
    assert [config.method["name"] for config in found.values()] == list(found)


def test_or_zero_draws_exact_zeros_and_positive_values() -> None:
    space = space_of({"optim.weight_decay": CONDITIONAL["optim.weight_decay"]})
    drawn = [draw(space, seed)[0]["optim.weight_decay"] for seed in range(40)]
    assert 0.0 in drawn
    assert all(value == 0.0 or 1e-6 <= value <= 1e-2 for value in drawn)
    assert 5 < drawn.count(0.0) < 35


def test_default_takes_the_methods_own_range_and_fixed_methods_need_no_condition() -> None:
    base = {**BASE, "method": "role"}
    space = space_of({"method.lr_mult": "default"}, base)
    [dimension] = space.dimensions
    assert (dimension.name, dimension.when) == ("method.lr_mult", {})
    assert space.methods == ("role",)
    both = space_of({"method": "default"}, base)
    assert {d.path for d in both.dimensions} == {"method.lr_mult", "method.regularizer_weight"}


def test_an_explicit_range_wins_over_the_declared_one() -> None:
    space = space_of(
        {"method": "default", "method.lr_mult": {"type": "float", "low": 2.0, "high": 3.0}}, {**BASE, "method": "role"}
    )
    [lr_mult] = [d for d in space.dimensions if d.path == "method.lr_mult"]
    assert lr_mult.range == FloatRange(low=2.0, high=3.0)


def test_fixed_options_of_the_base_method_survive_its_own_choice_and_drop_with_another() -> None:
    base = {**BASE, "method": {"name": "role", "lr_mult": 5.0}}
    space = space_of({"method.name": {"type": "categorical", "choices": ["role", "an"]}}, base)
    assert space.resolve({"method.name": "role"}).method["lr_mult"] == 5.0
    assert "lr_mult" not in space.resolve({"method.name": "an"}).method


def test_mappings_may_be_choices() -> None:
    space = space_of({"data.observation": CONDITIONAL["data.observation"]})
    with pytest.raises(ConfigError, match=r"data\.observation"):
        space.check()  # known_fraction calls its option otherwise; the message comes from the configuration itself


def test_two_ranges_for_one_path_are_two_parameters() -> None:
    space = space_of({key: CONDITIONAL[key] for key in ("method.name", "optim.lr")})
    assert [d.name for d in space.dimensions] == ["method.name", "optim.lr[an,wan]", "optim.lr[epr,role]"]


def test_conditions_are_decided_before_they_are_asked() -> None:
    space = space_of({key: CONDITIONAL[key] for key in ("optim.momentum", "optim.name")})
    assert [d.path for d in space.dimensions] == ["optim.name", "optim.momentum"]


def test_grid_visits_every_cell_once_and_only_what_exists() -> None:
    space = space_of({key: CONDITIONAL[key] for key in ("optim.name", "optim.momentum")})
    cells = list(space.cells())
    assert [cell["optim.name"] for cell in cells] == ["adam", "sgd", "sgd", "sgd", "sgd"]
    assert [cell.get("optim.momentum") for cell in cells[1:]] == pytest.approx([0.0, 0.3, 0.6, 0.9])
    for cell in cells:
        study = optuna.create_study()
        study.enqueue_trial(space.to_params(cell))
        assert space.suggest(study.ask()) == cell


def test_grid_of_a_continuous_range_says_what_to_do() -> None:
    space = space_of({"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-3}})
    with pytest.raises(ConfigError, match=r"optim\.lr.*list choices, or give it a step"):
        list(space.cells())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "float", "low": 1.0, "high": 0.1}, r"low <= high must hold, got low=1.0, high=0.1"),
        ({"type": "float", "low": 0.0, "high": 0.1, "log": True}, r"logarithmic range needs low > 0"),
        ({"type": "float", "low": 0.1, "high": 1.0, "log": True, "step": 0.1}, r"log and step exclude"),
        ({"type": "float", "low": 0.1, "high": 1.0, "logg": True}, r"did you mean 'search_space.optim.lr.log'"),
        ({"type": "floot", "low": 0.1, "high": 1.0}, r"did you mean 'float'"),
        ({"type": "int", "low": 0.5, "high": 1}, r"search_space.optim.lr.low must be"),
        ({"type": "categorical", "choices": []}, r"choices"),
        ({"type": "categorical", "choices": [1, 1]}, r"choices must differ"),
        ({"type": "float", "low": 0.0, "high": 1.0, "or_zero": True}, r"or_zero is for ranges that do not hold 0"),
        ([1e-4, 1e-2], r"must be `default`, or a mapping such as"),
        ({"low": 0.1, "high": 1.0}, r"must be `default`, or a mapping such as"),
    ],
)
def test_a_wrong_range_names_path_and_rule(entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_range(entry, "search_space.optim.lr")


LR = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}
METHODS = {"type": "categorical", "choices": ["an", "role"]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"optim.lrr": LR}, r"did you mean 'optim.lr'"),
        ({"optim.lr": {**LR, "low": -1.0, "log": False}}, r"search_space.optim.lr = -1.0: optim.lr must be"),
        ({"method.name": {"type": "categorical", "choices": ["an", "rol"]}}, r"did you mean 'role'"),
        ({"method.lr_mul": "default", "method.name": METHODS}, r"'lr_mul'; did you mean 'lr_mult'"),
        ({"optim.lr": "default"}, r"only method hyperparameters declare a range"),
        ({"method.name": METHODS, "optim.lr": {**LR, "when": {"method.nam": "an"}}}, r"did you mean 'method.name'"),
        ({"method.name": METHODS, "optim.lr": {**LR, "when": {"method.name": "epr"}}}, r"'epr' is not a value"),
        ({"method.name": METHODS, "optim.lr": [LR, {**LR, "when": {"method.name": "an"}}]}, r"may hold at once"),
        ({"optim.lr": [LR, LR]}, r"two ranges hold under the same condition"),
        ({"optim.lr": LR, "optim.weight_decay": {**LR, "when": {"optim.lr": 0.001}}}, r"needs a list of choices"),
        (
            {"method.name": METHODS, "method.lr_mult": {**LR, "high": 10.0}},
            r"method.name = 'an': unknown key 'method.lr_mult'",
        ),
    ],
)
def test_a_space_that_cannot_be_meant_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space_of(entries).check()


def test_circular_conditions_are_refused() -> None:
    entries = {
        "optim.name": {"type": "categorical", "choices": ["adam", "sgd"], "when": {"optim.schedule": "cosine"}},
        "optim.schedule": {"type": "categorical", "choices": ["cosine", "constant"], "when": {"optim.name": "sgd"}},
    }
    with pytest.raises(ConfigError, match="round in a circle"):
        space_of(entries)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"optim.lrr": 1e-3}, r"'optim.lrr' is not in search_space; did you mean 'optim.lr'"),
        ({"optim.lr": 1e-3}, r"'optim.lr' depends on method.name"),
        ({"method.name": "an", "method.lr_mult": 2.0}, r"exists only when method.name = role"),
        ({"method.name": "an", "optim.lr": 0.5}, r"optim.lr must be a number in \[0.0001, 0.001\], log scale, got 0.5"),
        ({"optim.batch_size": 8.0}, r"optim.batch_size must be a whole number"),
        ({"optim.weight_decay": 1.0}, r"or exactly 0, got 1.0"),
        ({"optim.name": "adamw"}, r"one of adam, sgd, got 'adamw'"),
    ],
)
def test_a_point_outside_the_space_is_refused(conditional: SearchSpace, point: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        conditional.to_params(point, "points[0]")


def test_a_partial_point_leaves_the_rest_to_the_sampler(conditional: SearchSpace) -> None:
    params = conditional.to_params({"method.name": "role", "optim.weight_decay": 0})
    assert params == {"method.name": "role", "optim.weight_decay=0": True}


def test_whole_number_ranges_keep_their_step() -> None:
    span = IntRange(low=2, high=8, step=3)
    assert span.grid() == [2, 5, 8]
    assert span.contains(5)
    assert not span.contains(4)
    assert not span.contains(True)


def test_brief_is_short() -> None:
    assert brief({"optim.lr": 0.00123456, "method.name": "an", "a": True}) == "optim.lr=0.00123  method.name=an  a=true"


def test_every_shipped_study_names_valid_ranges() -> None:
    from tune.study import load_study
    from tune.study_file import STUDIES

    files = sorted(Path(STUDIES).glob("*.yaml"))
    assert {"digits", "voc_single_positive"} <= {file.stem for file in files}
    for file in files:
        assert load_study(file).budget() >= 12


def test_every_named_choice_is_tried_even_if_no_condition_names_it() -> None:
    methods = {"type": "categorical", "choices": ["role", "an"]}
    with pytest.raises(ConfigError, match=r"method.name = 'an': unknown key 'method.lr_mult'"):
        space_of({"method.name": methods, "method.lr_mult": {**LR, "high": 10.0}}).check()
