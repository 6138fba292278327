"""Slabs: what a module computes, loads, replaces or saves is what its slot holds."""

import pytest
import torch
from torch import nn

from plml.stacked_state import Slab, StackedModule, runs_of


class Counting(nn.Module):
    """A parameter, a buffer, and both again one level down."""

    seen: torch.Tensor

    def __init__(self, value: float, *, deep: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 3), value))
        self.register_buffer("seen", torch.tensor(int(value)))
        if deep:
            self.inner = Counting(10 * value, deep=False)


def test_a_slab_holds_copies_in_slots() -> None:
    slab = Slab(torch.zeros(2, 3, dtype=torch.float64), 4)
    assert slab.whole.shape == (4, 2, 3)
    assert slab.whole.dtype == torch.float64
    own = torch.arange(6.0, dtype=torch.float64).view(2, 3)
    row = slab.take(2, own)
    assert row.data_ptr() == slab.whole[2].data_ptr()
    own.zero_()
    assert slab.whole.flatten(1).sum(dim=1).tolist() == [0.0, 0.0, 15.0, 0.0]
    assert slab.take(2, row) is row  # already there
    assert slab.whole[2].sum() == 15.0


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_scalars_and_empty_tensors_have_slots_too(shape: tuple[int, ...]) -> None:
    slab = Slab(torch.zeros(shape), 2)
    assert slab.take(1, torch.ones(shape)).shape == shape
    assert slab.whole.shape == (2, *shape)


def test_a_module_that_joined_works_on_its_slices() -> None:
    modules = [Counting(1.0), Counting(2.0)]
    stacked = StackedModule(modules[0], 3)
    before = [module.weight for module in modules]
    for slot, module in zip((2, 0), modules, strict=True):
        stacked.join(slot, module)
    assert all(module.weight is one for module, one in zip(modules, before, strict=True))  # as optimisers know them
    weight, seen = stacked.parameters["inner.weight"].whole, stacked.buffers["inner.seen"].whole
    assert weight[:, 0, 0].tolist() == [20.0, 0.0, 10.0]
    assert seen.tolist() == [20, 0, 10]
    weight.mul_(2.0)
    seen.add_(1)
    assert modules[0].inner.weight[0, 0].item() == 20.0
    assert modules[0].state_dict()["inner.seen"] == 11
    modules[1].load_state_dict(Counting(5.0).state_dict())  # loading copies in place
    assert stacked.parameters["weight"].whole[0, 0, 0] == 5.0
    assert stacked.buffers["seen"].whole.tolist() == [5, 0, 1]


def test_tensors_that_a_hook_replaced_are_brought_back() -> None:
    module = Counting(1.0)
    stacked = StackedModule(module, 2)
    stacked.join(1, module)
    module.seen = torch.tensor(7)
    module.inner.weight.data = torch.full((2, 3), 8.0)
    assert stacked.buffers["seen"].whole.tolist() == [0, 1]
    stacked.follow()
    assert stacked.buffers["seen"].whole.tolist() == [0, 7]
    assert stacked.parameters["inner.weight"].whole[1].unique().tolist() == [8.0]
    stacked.buffers["seen"].whole.add_(1)
    assert module.seen == 8


def test_a_module_that_left_has_tensors_of_its_own() -> None:
    modules = [Counting(1.0), Counting(2.0)]
    stacked = StackedModule(modules[0], 2)
    for slot, module in enumerate(modules):
        stacked.join(slot, module)
    parameter = modules[0].weight
    stacked.leave(0)
    assert modules[0].weight is parameter
    for slab in (*stacked.parameters.values(), *stacked.buffers.values()):
        slab.whole.zero_()
    assert modules[0].weight.unique().tolist() == [1.0]
    assert modules[0].inner.seen == 10
    assert modules[0].weight.untyped_storage().nbytes() == 6 * 4
    assert modules[1].weight.unique().tolist() == [0.0]
    newcomer = Counting(3.0)
    stacked.join(0, newcomer)
    assert stacked.parameters["weight"].whole[:, 0, 0].tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([], []),
        ([(0, "a")], [(0, 1, "a")]),
        ([(0, "a"), (1, "a"), (2, "b"), (3, "a")], [(0, 2, "a"), (2, 3, "b"), (3, 4, "a")]),
        ([(0, "a"), (1, "a"), (2, "a")], [(0, 3, "a")]),
    ],
)
def test_neighbours_with_one_key(slots: list[tuple[int, str]], expected: list[tuple[int, int, str]]) -> None:
    assert runs_of(slots) == expected
