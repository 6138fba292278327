"""Stopping rules and criteria."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plml.config import StoppingConfig
from plml.errors import ConfigError
from plml.metrics import known_mean_average_precision, mean_average_precision
from plml.selection import CRITERIA, criterion_value, criterion_values
from plml.selection_config import SelectionConfig
from plml.stopping import STOP_RULES, make_stop_rule

percent = st.floats(0, 100, allow_subnormal=False)
sequences = st.lists(percent, min_size=1, max_size=30)
rule_names = st.sampled_from(sorted(STOP_RULES))


def run(rule, values, start=0):
    """Feed values until the rule stops; return how many were trained."""
    for count, value in enumerate(values, start=1):
        rule.update(start + count - 1, value)
        if rule.stop:
            return count
    return len(values)


@given(rule_names, sequences)
def test_best_is_the_first_maximum_of_what_was_trained(name, values):
    rule = make_stop_rule(name, patience=3)
    trained = values[: run(rule, values)]
    assert rule.best_value == max(trained)
    assert rule.best_epoch == trained.index(max(trained))


@given(rule_names, sequences)
def test_update_says_whether_the_epoch_is_the_best_so_far(name, values):
    rule = make_stop_rule(name)
    best = -math.inf
    for epoch, value in enumerate(values):
        assert rule.update(epoch, value) == (value > best)
        best = max(best, value)


@given(rule_names, sequences, st.integers(0, 29))
def test_a_resumed_rule_decides_as_an_uninterrupted_one(name, values, cut):
    whole, first = make_stop_rule(name, patience=2), make_stop_rule(name, patience=2)
    for epoch, value in enumerate(values[:cut]):
        whole.update(epoch, value)
        first.update(epoch, value)
    second = make_stop_rule(name, patience=2)
    second.load_state_dict(first.state_dict())
    for epoch, value in enumerate(values[cut:], start=cut):
        assert whole.update(epoch, value) == second.update(epoch, value)
        assert whole.state_dict() == second.state_dict()


@pytest.mark.parametrize(
    ("name", "values", "best", "trained"),
    [
        ("cole", [50, 60, 60, 10], 1, 4),
        ("boostlu", [50, 60, 60, 10], 1, 4),
        ("ack", [50, 60, 60, 70], 1, 3),
        ("ack", [50, 40], 0, 2),
        ("llm", [60, 57, 56.9, 99], 0, 3),  # exactly 3 points below is not yet too low
        ("llm", [60, 62, 59, 61, 58.9, 70], 1, 5),
        ("patience", [50, 49, 48, 51, 50, 50, 50, 99], 3, 7),
    ],
)
def test_each_rule_by_hand(name, values, best, trained):
    rule = make_stop_rule(name, patience=3)
    assert run(rule, values) == trained
    assert rule.best_epoch == best


@pytest.mark.parametrize("name", sorted(STOP_RULES))
def test_an_all_zero_sequence_still_has_a_usable_epoch(name):
    rule = make_stop_rule(name)
    run(rule, [0.0] * 8, start=1)
    assert (rule.best_epoch, rule.best_value) == (1, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="epoch 4"):
        make_stop_rule("cole").update(4, value)


def test_names_are_those_of_the_configuration():
    assert set(get_args(StoppingConfig.model_fields["rule"].annotation)) == set(STOP_RULES)
    assert set(get_args(SelectionConfig.model_fields["criterion"].annotation)) == {"auto", *CRITERIA}


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'boostlu'"):
        make_stop_rule("boostlue")
    with pytest.raises(ConfigError, match="did you mean 'known_map'"):
        criterion_value("knownmap", torch.zeros(1, 1), torch.ones(1, 1))


def test_criteria_are_map_with_unknown_as_negative_or_left_out():
    logits = torch.tensor([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0], [0.0, 3.0]])
    labels = torch.tensor([[-1, 1], [1, 0], [0, -1], [-1, -1]], dtype=torch.int8)
    # Class 0: the positive is second of four, or first of the two known. Class 1: last of four, or last of two.
    assert criterion_value("map", logits, labels) == pytest.approx(100 * (1 / 2 + 1 / 4) / 2)
    assert criterion_value("known_map", logits, labels) == pytest.approx(100 * (1 + 1 / 2) / 2)
    assert criterion_value("map", logits, labels) == mean_average_precision(logits, labels).item()
    assert criterion_value("known_map", logits, labels) == known_mean_average_precision(logits, labels).item()


def test_reference_mode_ranks_saturated_sigmoid_outputs():
    logits = torch.tensor([[30.0], [40.0], [-1.0]])  # both saturate to 1 in single precision
    labels = torch.tensor([[0], [1], [0]], dtype=torch.int8)
    assert criterion_value("map", logits, labels, compat="fixed") == pytest.approx(100.0)
    assert criterion_value("map", logits, labels, compat="reference") == pytest.approx(50.0)


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"corrected_ap"}))
@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_many_models_have_the_values_each_has_alone(name, compat):
    generator = torch.Generator().manual_seed(3)
    logits = 20 * torch.randn(5, 40, 6, generator=generator)
    labels = torch.randint(-1, 2, (40, 6), generator=generator, dtype=torch.int8)
    values = criterion_values(name, logits, labels, compat=compat)
    assert values.shape == (5,)
    assert values.tolist() == [criterion_value(name, one, labels, compat=compat) for one in logits]
    assert len(set(values.tolist())) == 5
    with pytest.raises(ConfigError, match="there is no criterion"):
        criterion_values("losses", logits, labels)
