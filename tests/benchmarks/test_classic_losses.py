"""The classic loop's own losses and plml's reference mode compute the same numbers from the same equations."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.methods import build_method

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "classic_losses.py"))


def drawn(rows=6, classes=5):
    """Logits (B, L), true labels and one observed positive a row."""
    generator = torch.Generator().manual_seed(3)
    logits = 6 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    truth = (torch.rand(rows, classes, generator=generator) < 0.4).double()
    shown = torch.randint(classes, (rows,), generator=generator)
    truth[torch.arange(rows), shown] = 1.0
    observed = torch.zeros_like(truth)
    observed[torch.arange(rows), shown] = 1.0
    return logits, truth, observed


@pytest.mark.parametrize("name", SCRIPT["NAMES"])
def test_loss_and_gradients_are_those_of_the_method(name):
    start, truth, observed = drawn()
    full = name in SCRIPT["ON_TRUE_LABELS"]
    ours = torch.where(truth == 1, POSITIVE, NEGATIVE) if full else torch.where(observed == 1, POSITIVE, UNKNOWN)
    method = build_method(name, LabelInfo(ours.to(torch.int8), 1.5), {}, "reference").double()
    index = torch.arange(len(start))
    logits = start.clone().requires_grad_()
    expected = method(ModelOutput(logits, logits.detach()), Batch(logits.detach(), ours.to(torch.int8), index))
    expected.backward()

    again = start.clone().requires_grad_()
    estimates = None
    if name == "role":
        table = method.theta.detach().clone().requires_grad_()
        estimates = torch.sigmoid(table)
    labels = truth if full else observed
    loss = SCRIPT["classic_loss"](name, torch.sigmoid(again), labels, expected=1.5, estimates=estimates)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(again.grad, logits.grad, rtol=1e-9, atol=1e-13)
    if name == "role":
        torch.testing.assert_close(table.grad, method.theta.grad, rtol=1e-9, atol=1e-13)


def test_estimates_start_where_role_starts():
    _, _, observed = drawn()
    torch.manual_seed(0)
    start = SCRIPT["Estimates"](observed)(torch.arange(len(observed))).detach()
    assert np.allclose(start[observed == 1], 0.995)
    unknown = start[observed == 0]
    assert unknown.min() > 0.4
    assert unknown.max() < 0.6
    assert unknown.std() > 0.02
