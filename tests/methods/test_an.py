"""an: whatever is not observed positive is a negative."""

import numpy as np
import pytest


def oracle(e):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            total += e.nl(e.p[b, i]) if e.o[b, i] == 1 else e.nl(1 - e.p[b, i])
    return total / (rows * classes)


def test_matches_the_equation(example, build, loss_of):
    method = build("an", example.o, compat=example.compat)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 positive, 1/4 unknown, 1/2 negative -> (2 ln 4/3 + ln 2) / 3
    z, o = np.log([[3.0, 1 / 3, 1.0]]), np.array([[1, -1, 0]])
    assert loss_of(build("an", o), z, o) == pytest.approx((2 * np.log(4 / 3) + np.log(2)) / 3, rel=1e-12)


def test_with_every_label_known_it_is_bce(example, build, loss_of):
    full = np.where(example.o == 1, 1, 0)
    names = ("an", "bce")
    an, bce = (loss_of(build(name, full, compat=example.compat), example.z, full) for name in names)
    assert an == pytest.approx(bce, rel=1e-12)
