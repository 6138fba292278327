"""epr: known labels and the expected number of positives."""

import numpy as np
import pytest
import torch

from plml.labels import Batch, ModelOutput, as_tensor


def oracle(e, weight):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            if e.o[b, i] == 1:
                total += e.nl(e.p[b, i])
            elif e.o[b, i] == 0:
                total += e.nl(1 - e.p[b, i])
    mean_count = sum(e.p[b, i] for b in range(rows) for i in range(classes)) / rows
    return total / (rows * classes) + weight * (mean_count - e.k) ** 2 / classes**2


@pytest.mark.parametrize("weight", [0.0, 1.0, 7.5])
def test_matches_the_equation(example, build, loss_of, weight):
    method = build("epr", example.o, k=example.k, compat=example.compat, regularizer_weight=weight)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example, weight), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 1/2, 1/2: two images of one positive in expectation, k = 2 -> R = (1 - 2)^2 / 4; term ln 2 of 4 entries
    z, o = np.zeros((2, 2)), np.array([[1, -1], [-1, -1]])
    assert loss_of(build("epr", o, k=2.0), z, o) == pytest.approx(np.log(2) / 4 + 1 / 4, rel=1e-12)


def test_without_regulariser_it_is_bce(example, build, loss_of):
    plain = loss_of(build("bce", example.o, compat=example.compat), example.z, example.o)
    free = build("epr", example.o, compat=example.compat, regularizer_weight=0.0)
    assert loss_of(free, example.z, example.o) == pytest.approx(plain, rel=1e-12)


def test_learns_from_a_candidate_set(build):
    """No positive is known, but all the mass k must go to the candidates."""
    o = np.array([[-1, -1, 0, 0], [0, -1, -1, 0]])
    method = build("epr", o, k=1.0)
    logits = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        method(ModelOutput(logits, logits), Batch(logits, as_tensor(o), torch.arange(2))).backward()
        optimizer.step()
    p = logits.detach().sigmoid()
    assert p[as_tensor(o) == 0].max() < 0.1
    assert float(p.sum(1).mean()) == pytest.approx(1.0, abs=0.2)
