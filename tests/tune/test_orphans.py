"""A process ends with the one that started it, whatever it is doing."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from tune.orphans import end_with_parent
end_with_parent()
end_with_parent()
print("ready", flush=True)
{busy}
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("busy", ["time.sleep(60)", "while True: pass"])
def test_a_child_ends_with_its_parent(busy: str) -> None:
    child = CHILD.format(root=str(ROOT), busy=busy)
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(child=child)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    lines.remove("ready")
    process = psutil.Process(int(lines.pop()))
    time.sleep(1.2)
    assert process.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([process], timeout=15)
    assert not [left for left in alive if left.status() != psutil.STATUS_ZOMBIE]
