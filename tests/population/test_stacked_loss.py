"""The traced loss of K methods: each one's own value, gradients and state."""

import numpy as np
import pytest
import torch

from plml.labels import Batch, LabelInfo, ModelOutput
from plml.methods import METHODS, build_method
from plml.stacked_loss import StackedLoss
from plml.stacked_state import StackedModule

COUNT, CLASSES = 12, 4


def make_methods(name, options):
    rng = np.random.default_rng(0)
    observed = torch.from_numpy(rng.integers(-1, 2, (COUNT, CLASSES)).astype(np.int8))
    labels = LabelInfo(observed, 1.5, [f"class{i}" for i in range(CLASSES)], 3)
    methods = []
    for number, each in enumerate(options):
        torch.manual_seed(number)
        methods.append(build_method(name, labels, each, "fixed").double())
    return observed, methods


def stack(methods):
    state = StackedModule(methods[0], len(methods))
    for slot, method in enumerate(methods):
        state.join(slot, method)
    numbers = {key for key, value in vars(methods[0]).items() if isinstance(value, float)}
    return state, StackedLoss(
        methods[0],
        {name: slab.whole for name, slab in state.parameters.items()},
        {name: slab.whole for name, slab in state.buffers.items()},
        {key: torch.tensor([getattr(m, key) for m in methods], dtype=torch.float64) for key in numbers},
    )


def batch_of(observed, methods, size=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    index = torch.stack([torch.randperm(COUNT, generator=generator)[:size] for _ in methods])
    logits = torch.randn(len(methods), size, CLASSES, generator=generator, dtype=torch.float64)
    return logits, observed[index], index


def step_of(loss, logits, seen, index):
    """The step of runs whose heads have these logits, by products with the inputs and a bias."""
    bias = torch.arange(CLASSES * len(logits), dtype=logits.dtype).view(len(logits), CLASSES)
    return loss((logits - bias[:, None]).transpose(1, 2).contiguous(), bias, seen, index)


def test_losses_and_gradients_are_each_methods_own():
    observed, methods = make_methods("role", [{"regularizer_weight": w} for w in (0.0, 1.0, 30.0)])
    _, loss = stack(methods)
    logits, seen, index = batch_of(observed, methods)
    found = step_of(loss, logits, seen, index)
    for slot, method in enumerate(methods):
        z = logits[slot].clone().requires_grad_()
        method.theta.grad = None
        value = method(ModelOutput(z, z), Batch(z, seen[slot], index[slot]))
        value.backward()
        torch.testing.assert_close(found.loss[slot], value.detach())
        torch.testing.assert_close(found.logits[slot], logits[slot])
        torch.testing.assert_close(found.products[slot], z.grad.T)
        torch.testing.assert_close(found.bias[slot], z.grad.sum(0))
        torch.testing.assert_close(found.parameters["theta"][slot], method.theta.grad)
    assert len(set(found.loss.tolist())) == 3


def test_a_graph_is_traced_once_for_each_shape(monkeypatch):
    observed, methods = make_methods("role", [{}, {}])
    _, loss = stack(methods)
    calls = []
    real = METHODS["role"].forward
    monkeypatch.setattr(METHODS["role"], "forward", lambda self, *rest: calls.append(1) or real(self, *rest))
    for size, traces in ((5, 1), (5, 1), (3, 2), (5, 2), (3, 2)):
        logits, seen, index = batch_of(observed, methods, size, seed=len(calls))
        assert step_of(loss, logits, seen, index).products.shape == (2, CLASSES, size)
        assert len(calls) == traces
    loss.after_step(logits, seen, index)
    assert len(calls) == traces


def test_a_trace_changes_nothing():
    """Tracing runs the operations once; what they change in place is changed by the step alone."""
    observed, methods = make_methods("role", [{}, {}])
    state, loss = stack(methods)
    loss.after_step(*batch_of(observed, methods))
    assert state.buffers["images_seen"].whole.tolist() == [5.0, 5.0]


def test_a_replayed_graph_sees_what_has_changed_since():
    observed, methods = make_methods("role", [{}, {}])
    state, loss = stack(methods)
    batch = batch_of(observed, methods)
    before = step_of(loss, *batch).loss.clone()
    state.parameters["theta"].whole[1].add_(1.0)
    loss.hyperparameters["regularizer_weight"][0] = 7.0
    after = step_of(loss, *batch).loss
    assert (after != before).all()
    z = batch[0][1]
    torch.testing.assert_close(after[1], methods[1](ModelOutput(z, z), Batch(z, batch[1][1], batch[2][1])).detach())


def test_hyperparameters_are_the_methods_own_again_after_a_trace():
    observed, methods = make_methods("role", [{"regularizer_weight": 0.5}, {}])
    _, loss = stack(methods)
    step_of(loss, *batch_of(observed, methods))
    assert methods[0].regularizer_weight == 0.5
    assert type(methods[0].regularizer_weight) is float


@pytest.mark.parametrize("name", ["role", "csl", "em_apl", "ll_cp"])
def test_state_that_after_step_changes_in_place_arrives_in_the_slab(name):
    observed, methods = make_methods(name, [{}, {}, {}])
    _, alone = make_methods(name, [{}, {}, {}])
    for method in (*methods, *alone):
        method.on_epoch_start(3, lambda: torch.zeros(COUNT, CLASSES))
    state, loss = stack(methods)
    for seed in range(3):
        logits, seen, index = batch_of(observed, methods, size=COUNT, seed=seed)
        loss.after_step(logits, seen, index)
        for slot, method in enumerate(alone):
            method.after_step(ModelOutput(logits[slot], logits[slot]), Batch(logits[slot], seen[slot], index[slot]))
    changed = 0
    start = dict(make_methods(name, [{}])[1][0].named_buffers())
    for slot, method in enumerate(alone):
        for key, value in method.named_buffers():
            torch.testing.assert_close(state.buffers[key].whole[slot], value, msg=key)
            torch.testing.assert_close(methods[slot].get_buffer(key), value, msg=key)
            changed += slot == 0 and not torch.equal(value, start[key])
    assert changed


def test_a_method_without_after_step_needs_no_graph_for_it():
    observed, methods = make_methods("an", [{}, {}])
    _, loss = stack(methods)
    loss.after_step(*batch_of(observed, methods))
    assert not loss._graphs
