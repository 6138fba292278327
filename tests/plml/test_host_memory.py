"""Freed memory is used again: what the trainer switches on for images on a CPU."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from plml.host_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    block = bytearray(64 * 2**20)  # is written, and freed at once
before = [step(), step()] and resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a switch of glibc")
def test_steps_do_not_pay_for_pages_again() -> None:
    faults = {}
    for way in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    assert faults["keep"] < 200
    assert faults["leave"] > 5 * 64 * 2**20 / 2**21  # at least one fault for each page, were they all huge
