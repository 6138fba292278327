"""With every method two devices agree with one in double precision: what differs in single precision is rounding."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plml.methods import METHODS

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).with_name("double_ranks.py")
CASES = (*METHODS, "contrastive", "augmented")
# Adam turns a gradient of 1e-12 that rounding moved by 1e-16 into a step that moved by 1e-4 of a rate of 1e-3.
RELATIVE, ABSOLUTE = 1e-7, 1e-7


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """Losses and weights of every case: of one process, and of either of two."""
    folder = tmp_path_factory.mktemp("double")
    ranks = [(0, 1), (0, 2), (1, 2)]
    processes = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(size), str(folder)]) for rank, size in ranks
    ]
    assert [process.wait(500) for process in processes] == [0, 0, 0]
    return [torch.load(folder / f"{size}-{rank}.pt", weights_only=True) for rank, size in ranks]


@pytest.mark.parametrize("case", CASES)
def test_nothing_differs_but_rounding(trained: list[dict[str, dict[str, torch.Tensor]]], case: str) -> None:
    alone, first, _ = (found[case] for found in trained)
    torch.testing.assert_close(first["loss"], alone["loss"], rtol=1e-11, atol=1e-13)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=RELATIVE, atol=ABSOLUTE, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_processes_hold_the_same_bits(trained: list[dict[str, dict[str, torch.Tensor]]], case: str) -> None:
    _, first, second = (found[case] for found in trained)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
