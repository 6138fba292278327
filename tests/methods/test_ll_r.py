"""ll_r: the unknown labels with the largest loss do not count."""

import math

import numpy as np
import pytest
import torch

from plml.labels import Batch, ModelOutput, as_tensor
from plml.large_loss import label_losses


def no_scores():
    raise AssertionError("ll_r needs no pass over the training split")


def bce(z, label):
    return np.log1p(np.exp(-z if label else z))


def oracle(e, share):
    """One loop per symbol; random logits tie nowhere."""
    rows, classes = e.z.shape
    losses = {(b, i): bce(e.z[b, i], e.o[b, i] == 1) for b in range(rows) for i in range(classes)}
    candidates = sorted((losses[entry] for entry in losses if e.o[entry] == -1), reverse=True)
    k = math.ceil(rows * classes * share - 1e-9)
    threshold = candidates[min(k, len(candidates)) - 1] if k else math.inf
    return sum(u for entry, u in losses.items() if e.o[entry] != -1 or u < threshold) / (rows * classes)


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_matches_the_equation(example, build, loss_of, epoch):
    method = build("ll_r", example.o, compat="fixed", delta_rel=6.0)
    method.on_epoch_start(epoch, no_scores)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example, 0.06 * epoch), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 for all: the positive costs ln 4/3, unknown and known negative ln 4 each. Share 1/3 of 3 entries: k = 1.
    z, o = np.log([[3.0, 3.0, 3.0]]), np.array([[1, -1, 0]])
    method = build("ll_r", o, delta_rel=100 / 3)
    assert loss_of(method, z, o) == pytest.approx((np.log(4 / 3) + 2 * np.log(4)) / 3, rel=1e-12)
    method.on_epoch_start(1, no_scores)
    assert loss_of(method, z, o) == pytest.approx((np.log(4 / 3) + np.log(4)) / 3, rel=1e-12)


def test_first_epoch_is_an(example, build, loss_of):
    losses = [loss_of(build(name, example.o), example.z, example.o) for name in ("ll_r", "an")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_rejecting_everything_unknown_is_bce_on_known_labels(example, build, loss_of):
    method = build("ll_r", example.o, delta_rel=100.0)
    method.on_epoch_start(1, no_scores)
    assert loss_of(method, example.z, example.o) == pytest.approx(
        loss_of(build("bce", example.o), example.z, example.o), rel=1e-12
    )


def test_rejected_entries_have_no_gradient(build):
    o = np.array([[1, -1, -1, 0]])
    method = build("ll_r", o, delta_rel=25.0)
    method.on_epoch_start(1, no_scores)
    z = torch.tensor([[0.0, 2.0, 1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    method(ModelOutput(z, z), Batch(z, as_tensor(o), torch.arange(1))).backward()
    p = z.detach().sigmoid()[0]
    torch.testing.assert_close(z.grad[0], torch.stack([p[0] - 1, 0 * p[1], p[2], p[3]]) / 4)


def test_single_precision_agrees_with_double(build):
    o = np.array([[1, -1, -1, 0], [-1, -1, 1, 0]])
    z = torch.tensor([[0.5, 2.0, 1.0, 3.0], [-4.0, 0.1, -2.0, 1.0]], dtype=torch.float64)
    method = build("ll_r", o, delta_rel=25.0)
    method.on_epoch_start(1, no_scores)
    losses = [method(ModelOutput(x, x), Batch(x, as_tensor(o), torch.arange(2))) for x in (z, z.float())]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    terms, _ = label_losses(z, as_tensor(o) == 1, "fixed")
    assert method.large(terms, Batch(z, as_tensor(o), torch.arange(2))).sum() == 2
    assert label_losses(z.float(), as_tensor(o) == 1, "fixed")[0].dtype == torch.float32
