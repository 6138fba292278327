"""ramped_wan: the weight of unknown labels grows over the epochs."""

import numpy as np
import pytest


def oracle(example, weight):
    """One loop per symbol of the equation, in double precision."""
    total = 0.0
    rows, classes = example.z.shape
    for b in range(rows):
        for i in range(classes):
            if example.o[b, i] == 1:
                total += example.nl(example.p[b, i])
            else:
                total += (weight if example.o[b, i] == -1 else 1.0) * example.nl(1 - example.p[b, i])
    return total / (rows * classes)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.0), (1, 0.25), (4, 1.0), (9, 1.0)])
def test_matches_the_equation(example, build, loss_of, epoch, share):
    method = build("ramped_wan", example.o, compat=example.compat, negative_weight=0.2, ramp_epochs=4)
    method.on_epoch_start(epoch, None)
    assert loss_of(method, example.z, example.o) == pytest.approx(oracle(example, 0.2 * share), rel=1e-12)


def test_hand_worked(build, loss_of):
    # p = 3/4 positive, 1/2 unknown at half of the weight 1/2, 1/2 negative -> (ln 4/3 + ln 2 / 4 + ln 2) / 3
    z, o = np.log([[3.0, 1.0, 1.0]]), np.array([[1, -1, 0]])
    method = build("ramped_wan", o, negative_weight=0.5, ramp_epochs=2)
    method.on_epoch_start(1, None)
    assert loss_of(method, z, o) == pytest.approx((np.log(4 / 3) + 1.25 * np.log(2)) / 3, rel=1e-12)


def test_at_the_end_it_is_wan(example, build, loss_of):
    method = build("ramped_wan", example.o, compat=example.compat, negative_weight=0.3, ramp_epochs=1)
    method.on_epoch_start(1, None)
    wan = build("wan", example.o, compat=example.compat, negative_weight=0.3)
    assert loss_of(method, example.z, example.o) == pytest.approx(loss_of(wan, example.z, example.o), rel=1e-12)
