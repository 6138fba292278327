"""wan: unknown labels are negatives of small weight; known negatives have full weight."""

import numpy as np
import pytest


def oracle(e, weight):
    total = 0.0
    rows, classes = e.z.shape
    for b in range(rows):
        for i in range(classes):
            if e.o[b, i] == 1:
                total += e.nl(e.p[b, i])
            else:
                total += (weight if e.o[b, i] == -1 else 1.0) * e.nl(1 - e.p[b, i])
    return total / (rows * classes)


@pytest.mark.parametrize("weight", [None, 0.0, 0.02, 1.0])
def test_matches_the_equation(example, build, loss_of, weight):
    method = build("wan", example.o, compat=example.compat, negative_weight=weight)
    expected = oracle(example, 1 / (example.z.shape[1] - 1) if weight is None else weight)
    assert loss_of(method, example.z, example.o) == pytest.approx(expected, rel=1e-12)


def test_hand_worked(build, loss_of):
    # L = 3, so w = 1/2; p = 3/4 positive, 1/2 unknown, 1/2 negative -> (ln 4/3 + ln 2 / 2 + ln 2) / 3
    z, o = np.log([[3.0, 1.0, 1.0]]), np.array([[1, -1, 0]])
    assert loss_of(build("wan", o), z, o) == pytest.approx((np.log(4 / 3) + 1.5 * np.log(2)) / 3, rel=1e-12)


def test_limits_are_an_and_bce(example, build, loss_of):
    def loss(name, **options):
        return loss_of(build(name, example.o, compat=example.compat, **options), example.z, example.o)

    assert loss("wan", negative_weight=1.0) == pytest.approx(loss("an"), rel=1e-12)
    assert loss("wan", negative_weight=0.0) == pytest.approx(loss("bce"), rel=1e-12)


def test_one_class_has_nobody_to_share_with(build, loss_of):
    z, o = np.array([[0.0], [0.0]]), np.array([[1], [-1]])
    assert loss_of(build("wan", o), z, o) == pytest.approx(np.log(2))
