"""bce_ls: smoothed targets at the known entries, nothing at the unknown ones."""

import numpy as np
import pytest


def oracle(e, s):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            positive, negative = e.nl(e.p[b, i]), e.nl(1 - e.p[b, i])
            if e.o[b, i] == 1:
                total += (1 - s) * positive + s * negative
            elif e.o[b, i] == 0:
                total += (1 - s) * negative + s * positive
    return total / (rows * classes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.25])
def test_matches_the_equation(example, build, loss_of, smoothing):
    method = build("bce_ls", example.o, compat=example.compat, ls_coef=smoothing)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example, smoothing), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 and positive, s = 0.1: 0.9 ln(4/3) + 0.1 ln 4; unknown: 0
    z, o = np.log([[3.0, 1.0]]), np.array([[1, -1]])
    expected = (0.9 * np.log(4 / 3) + 0.1 * np.log(4)) / 2
    assert loss_of(build("bce_ls", o), z, o) == pytest.approx(expected, rel=1e-12)


def test_without_smoothing_it_is_bce(example, build, loss_of):
    plain = loss_of(build("bce", example.o, compat=example.compat), example.z, example.o)
    smooth = loss_of(build("bce_ls", example.o, compat=example.compat, ls_coef=0.0), example.z, example.o)
    assert smooth == pytest.approx(plain, rel=1e-12)
