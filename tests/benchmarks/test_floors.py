"""Arithmetic of the floors, on numbers small enough to do by hand."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "floors.py"))
Rates = SCRIPT["Rates"]


def test_a_linear_step():
    need = SCRIPT["linear_step"](8, 2048, 20)
    assert need.flops == 4 * 8 * 2048 * 20 + 12 * 2048 * 20
    assert need.bytes == 4 * (7 * 2048 * 20 + 8 * 2048)
    three = SCRIPT["linear_step"](8, 2048, 20, 3)
    assert (three.flops, three.bytes) == (3 * need.flops, 3 * need.bytes)


def test_the_longer_of_two_times_counts():
    need = SCRIPT["Need"]("", flops=100.0, bytes=10.0, working_set=1.0)
    assert need.seconds(Rates(flops=50.0, bytes=10.0)) == 2.0
    assert need.bound(Rates(flops=50.0, bytes=10.0)) == "operations"
    assert need.seconds(Rates(flops=1000.0, bytes=2.0)) == 5.0
    assert need.bound(Rates(flops=1000.0, bytes=2.0)) == "bytes"


def test_epochs_a_second_of_one_configuration():
    need = SCRIPT["linear_step"](32, 10, 2, 4)
    rates = Rates(flops=1e30, bytes=float(need.bytes))  # a step of the population takes one second
    rate = SCRIPT["linear_epochs_per_second"](need, rates, examples=100, batch=32, population=4)
    assert rate == pytest.approx(1.0)  # 4 steps an epoch, 4 configurations


def test_resnet50_is_counted_on_the_network_itself():
    small = SCRIPT["resnet50_step"](1, 64, width=2)
    twice = SCRIPT["resnet50_step"](2, 64, width=2)
    assert twice.flops == 2 * small.flops
    weights = 7 * 4 * (25_557_032 - 980 * 2049)  # 20 classes instead of 1,000
    assert twice.bytes - weights == 2 * (small.bytes - weights)
    assert 448**2 / 64**2 * 16 * small.flops == pytest.approx(1.5545e12, rel=0.002)  # published: 4.1 GMAC at 224
