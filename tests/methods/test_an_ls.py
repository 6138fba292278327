"""an_ls: assume negative with smoothed targets."""

import numpy as np
import pytest


def oracle(e, s):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            target = 1 - s if e.o[b, i] == 1 else s
            total += target * e.nl(e.p[b, i]) + (1 - target) * e.nl(1 - e.p[b, i])
    return total / (rows * classes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.25])
def test_matches_the_equation(example, build, loss_of, smoothing):
    method = build("an_ls", example.o, compat=example.compat, ls_coef=smoothing)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example, smoothing), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 positive and 1/4 unknown, s = 0.1: both cost 0.9 ln(4/3) + 0.1 ln 4
    z, o = np.log([[3.0, 1 / 3]]), np.array([[1, -1]])
    expected = 0.9 * np.log(4 / 3) + 0.1 * np.log(4)
    assert loss_of(build("an_ls", o), z, o) == pytest.approx(expected, rel=1e-12)


def test_without_smoothing_it_is_an(example, build, loss_of):
    plain = loss_of(build("an", example.o, compat=example.compat), example.z, example.o)
    smooth = loss_of(build("an_ls", example.o, compat=example.compat, ls_coef=0.0), example.z, example.o)
    assert smooth == pytest.approx(plain, rel=1e-12)


def test_fully_smoothed_targets_ignore_the_labels(build, loss_of):
    z = np.array([[1.0, -2.0, 0.5]])
    a, b = np.array([[1, -1, 0]]), np.array([[-1, 1, 1]])
    assert loss_of(build("an_ls", a, ls_coef=0.5), z, a) == pytest.approx(loss_of(build("an_ls", b, ls_coef=0.5), z, b))
