"""pr: every observed positive against every other label of its image."""

import numpy as np
import pytest


def oracle(e):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            if e.o[b, i] == 1:
                for j in range(classes):
                    if e.o[b, j] != 1:
                        total += max(0.0, 1.0 - e.p[b, i] + e.p[b, j])
    return total / (rows * classes)


def test_matches_the_equation(example, build, loss_of):
    method = build("pr", example.o, compat=example.compat)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 positive, 1/4 unknown, 1/2 negative -> (1/4 + 1/4) + (1/4 + 1/2) over 3 entries
    z, o = np.log([[3.0, 1 / 3, 1.0]]), np.array([[1, -1, 0]])
    assert loss_of(build("pr", o), z, o) == pytest.approx(1.25 / 3, rel=1e-12)


def test_perfect_separation_costs_nothing(build, loss_of):
    o = np.array([[1, 1, -1, 0]])
    z = np.where(o == 1, 800.0, -800.0)
    assert loss_of(build("pr", o), z, o) == 0.0


def test_images_without_positives_contribute_nothing(build, loss_of):
    o = np.array([[1, -1], [-1, 0]])
    method = build("pr", o)
    losses = {loss_of(method, np.array([[1.0, 0.0], [shift, -shift]]), o) for shift in (0.0, 3.0)}
    assert len(losses) == 1
