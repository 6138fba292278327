"""bce: the mean over all entries of the cross entropy at the known ones."""

import numpy as np
import pytest


def oracle(e):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            if e.o[b, i] == 1:
                total += e.nl(e.p[b, i])
            elif e.o[b, i] == 0:
                total += e.nl(1 - e.p[b, i])
    return total / (rows * classes)


def test_matches_the_equation(example, build, loss_of):
    method = build("bce", example.o, compat=example.compat)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4, 1/4, 1/2; known: positive, negative, unknown -> (ln 4/3 + ln 4/3 + 0) / 3
    z, o = np.log([[3.0, 1 / 3, 1.0]]), np.array([[1, 0, -1]])
    assert loss_of(build("bce", o), z, o) == pytest.approx(2 * np.log(4 / 3) / 3, rel=1e-12)


def test_unknown_entries_change_nothing_but_the_denominator(build, loss_of):
    o = np.array([[1, -1, 0, -1]])
    near, far = np.array([[0.3, 5.0, -1.0, 5.0]]), np.array([[0.3, -9.0, -1.0, 2.0]])
    method = build("bce", o)
    assert loss_of(method, near, o) == loss_of(method, far, o)
    assert loss_of(method, near[:, [0, 2]], o[:, [0, 2]]) == pytest.approx(2 * loss_of(method, near, o))


def test_released_epsilon_caps_the_loss(build, loss_of):
    z, o = np.array([[-200.0]]), np.array([[1]])
    assert loss_of(build("bce", o, compat="reference"), z, o) == pytest.approx(-np.log(1e-5), rel=1e-9)
    assert loss_of(build("bce", o, compat="fixed"), z, o) == pytest.approx(200.0)
