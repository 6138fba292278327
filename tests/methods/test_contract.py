"""What every registered method must satisfy, whatever it computes."""

import copy
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from plml.errors import ConfigError
from plml.labels import Batch, LabelInfo, ModelOutput, as_tensor
from plml.methods import METHODS, build_method
from plml.schema import keyword_options, options_model

NUM_EXAMPLES, NUM_CLASSES, FEATURE_DIM = 6, 5, 7
# The last row knows nothing, as for an image without positive labels.
OBSERVED = as_tensor(
    [[1, -1, -1, -1, -1], [-1, 1, 0, -1, -1], [0, 0, 1, 1, 0], [-1, -1, -1, -1, 1], [0, -1, -1, -1, -1], [-1] * 5]
)
_GENERATOR = torch.Generator().manual_seed(0)
MAPS = torch.rand(NUM_EXAMPLES, FEATURE_DIM, 3, 3, generator=_GENERATOR)
VIEWS = torch.rand(2, NUM_EXAMPLES, FEATURE_DIM, generator=_GENERATOR)
CLASS_WEIGHTS = torch.randn(NUM_CLASSES, FEATURE_DIM, generator=_GENERATOR)

each_method = pytest.mark.parametrize("name", sorted(METHODS))
each_mode = pytest.mark.parametrize("compat", ["fixed", "reference"])


def make(name, compat="fixed", observed=OBSERVED, **options):
    torch.manual_seed(0)
    return build_method(name, LabelInfo(observed, 1.5, feature_dim=FEATURE_DIM), options, compat)


def no_scores():
    """A training pass that knows nothing: every score is 0."""
    return torch.zeros(NUM_EXAMPLES, NUM_CLASSES)


def batch_of(logits, rows):
    rows = torch.as_tensor(rows)
    maps = MAPS[rows]
    out = ModelOutput(logits, maps.mean(dim=(2, 3)), maps, CLASS_WEIGHTS, torch.zeros(NUM_CLASSES), VIEWS[:, rows])
    return out, Batch(maps, OBSERVED[rows], rows)


def loss_at(method, logits, rows=range(NUM_EXAMPLES)):
    return method(*batch_of(logits, list(rows)))


def noise(seed=0, rows=NUM_EXAMPLES):
    return torch.randn(rows, NUM_CLASSES, generator=torch.Generator().manual_seed(seed))


@each_method
def test_one_file_and_one_test_file(name):
    assert METHODS[name].__module__ == f"plml.methods.{name}"
    assert (Path(__file__).parent / f"test_{name}.py").is_file()


@each_method
def test_says_what_it_is(name):
    method = METHODS[name]
    assert "arXiv" in method.paper or "https://" in method.paper  # not every paper has a preprint
    assert method.__doc__
    assert inspect.getmodule(method).__doc__


@each_method
def test_hyperparameters_are_keyword_only_with_valid_defaults(name):
    for key, parameter in keyword_options(METHODS[name]).items():
        assert parameter.default is not inspect.Parameter.empty, key
    defaults = options_model(METHODS[name], "Options")().model_dump()
    make(name, **defaults)


@each_method
def test_search_space_is_about_constructor_arguments(name):
    space = METHODS[name].search_space
    assert set(space) <= set(keyword_options(METHODS[name]))
    options = options_model(METHODS[name], "Options")
    for key, distribution in space.items():
        ends = distribution.get("choices") or (distribution["low"], distribution["high"])
        for value in ends:
            loss = loss_at(make(name, **options(**{key: value}).model_dump()), noise())
            assert torch.isfinite(loss), (key, value)


@each_method
@each_mode
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0, 1e4])
def test_loss_is_a_finite_scalar_with_finite_gradients(name, compat, size):
    method = make(name, compat)
    logits = (size * noise().sign()).requires_grad_()
    loss = loss_at(method, logits)
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    for parameter in method.parameters():
        assert torch.isfinite(parameter.grad).all()


@each_method
@each_mode
def test_one_step_raises_positives_and_lowers_negatives(name, compat):
    logits = torch.zeros(NUM_EXAMPLES, NUM_CLASSES, requires_grad=True)
    loss_at(make(name, compat), logits).backward()
    rows_with_positive = (OBSERVED == 1).any(1)
    assert (logits.grad[OBSERVED == 1] < 0).all()
    # A ranking method can lower a negative only below a positive of the same image.
    assert (logits.grad[rows_with_positive][OBSERVED[rows_with_positive] == 0] > 0).all()


@each_method
@each_mode
def test_order_of_examples_does_not_matter(name, compat):
    method, logits = make(name, compat), noise()
    order = [3, 5, 0, 1, 4, 2]
    torch.testing.assert_close(loss_at(method, logits), loss_at(method, logits[order], order))


@each_method
def test_batch_of_one(name):
    for row in range(NUM_EXAMPLES):
        assert torch.isfinite(loss_at(make(name), noise(rows=1), [row]))


@each_method
def test_state_dict_holds_everything(name):
    """A method trained for some steps and loaded into a fresh one gives the same loss and the same next steps."""

    def train(method, optimizer, seeds):
        losses = []
        for seed in seeds:
            out, batch = batch_of(noise(seed), range(NUM_EXAMPLES))
            out.logits.requires_grad_()
            loss = method(out, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                method.after_step(out, batch)
            losses.append(loss.item())
        return losses

    def optimizer_of(method):
        anything = torch.nn.Parameter(torch.zeros(1))  # most methods have no parameter of their own
        return torch.optim.Adam([{"params": [anything], "lr": 1e-2}, *method.param_groups(1e-2)])

    method = make(name)
    optimizer = optimizer_of(method)
    method.on_epoch_start(0, no_scores)
    train(method, optimizer, range(4))
    torch.manual_seed(1)
    fresh = build_method(name, LabelInfo(OBSERVED, 1.5, feature_dim=FEATURE_DIM), {}, "fixed")
    fresh.load_state_dict(method.state_dict())
    fresh_optimizer = optimizer_of(fresh)
    fresh_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(fresh, fresh_optimizer, range(4, 8)) == train(method, optimizer, range(4, 8))
    for key, value in method.diagnostics().items():
        assert value.shape == ()
        assert torch.equal(value, fresh.diagnostics()[key]), key


@each_method
def test_hyperparameters_may_be_tensors(name):
    options = {
        key: value
        for key, value in options_model(METHODS[name], "Options")().model_dump().items()
        if isinstance(value, float)
    }
    as_tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in options.items()}
    torch.testing.assert_close(
        loss_at(make(name, **as_tensors), noise()), loss_at(make(name, **options), noise()), check_dtype=False
    )


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if method.stackable))
def test_many_can_be_stacked(name):
    """Under vmap, which refuses host copies and branches on values, each gives the loss that it gives alone."""
    space = METHODS[name].search_space
    floats = {key: dist for key, dist in space.items() if dist["type"] == "float"}
    methods = [make(name, **{key: float(dist[end]) for key, dist in floats.items()}) for end in ("low", "high")]
    logits = torch.stack([noise(seed) for seed in (1, 2)])  # (K, B, L)
    alone = torch.stack([loss_at(method, rows) for method, rows in zip(methods, logits, strict=True)])
    values = {key: torch.tensor([float(d["low"]), float(d["high"])]) for key, d in floats.items()}
    state = stack_module_state(methods)
    shared = methods[0]

    def one(parameters, buffers, options, rows):
        for key, value in options.items():
            setattr(shared, key, value)
        return functional_call(shared, (parameters, buffers), batch_of(rows, range(NUM_EXAMPLES)))

    torch.testing.assert_close(vmap(one)(*state, values, logits), alone)


@each_method
@pytest.mark.parametrize("missing", [1, 0])
def test_says_why_it_cannot_learn_from_these_labels(name, missing):
    method, word = METHODS[name], {1: "positive", 0: "negative"}[missing]
    hidden = as_tensor(np.where(OBSERVED.numpy() == missing, -1, OBSERVED.numpy()))
    if method.needs_positives if missing == 1 else method.needs_negatives:
        with pytest.raises(ConfigError, match=f"'{name}' needs observed {word} labels .*reveals no {word} label"):
            make(name, observed=hidden)
    else:
        assert torch.isfinite(loss_at(make(name, observed=hidden), noise()))


@each_method
def test_says_that_the_expected_number_of_positives_is_missing(name):
    if METHODS[name].needs_expected_positives:
        with pytest.raises(ConfigError, match="set data.expected_positives"):
            build_method(name, LabelInfo(OBSERVED, None, feature_dim=FEATURE_DIM), {}, "fixed")
