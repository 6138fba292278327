"""A replayed graph gives what the graph gives, in place of which it runs."""

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from plml.replay import replay_of


def function(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    c = (a + b[:, None]).transpose(0, 1).sigmoid()
    return c.sum(0), torch.where(c > 0.5, c.log(), -c)


def test_figures_are_the_same_to_the_bit() -> None:
    a, b = torch.randn(5, 3), torch.randn(5)
    graph = make_fx(function)(a, b)
    replay = replay_of(graph, (a.clone(), b.clone()))
    for _ in range(4):  # TorchScript changes its plan during the first calls
        a, b = torch.randn(5, 3), torch.randn(5)
        for found, expected in zip(replay(a, b), function(a, b), strict=True):
            assert torch.equal(found, expected)


def test_arguments_are_changed_in_place() -> None:
    def count(a: Tensor) -> Tensor:
        a.add_(1.0)
        return a * 2

    start = torch.zeros(2)
    replay = replay_of(make_fx(count)(start.clone()), (start.clone(),))
    for _ in range(3):
        replay(start)
    assert start.tolist() == [3.0, 3.0]


def test_without_torchscript_the_graph_itself_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.jit, "trace")
    a, b = torch.randn(5, 3), torch.randn(5)
    graph = make_fx(function)(a, b)
    assert replay_of(graph, (a, b)) is graph


def test_nobody_is_told_that_torchscript_is_old(recwarn: pytest.WarningsRecorder) -> None:
    a, b = torch.randn(5, 3), torch.randn(5)
    replay_of(make_fx(function)(a, b), (a, b))
    assert not [warning for warning in recwarn if "torch.jit" in str(warning.message)]
