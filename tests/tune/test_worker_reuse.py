"""Workers stay: trials that end faster than workers start must not keep further workers from starting."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale_cluster.py"


def test_short_trials_get_every_device_and_no_worker_twice() -> None:
    """The real driver with six logical GPUs, and trials of two seconds that only sleep."""
    line = [sys.executable, str(SCRIPT), "--gpus", "6", "--trials", "90", "--epochs", "4", "--epoch-s", "0.5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "90 trials, 6 at once" in done.stdout
    assert "workers that trained them: 6\n" in done.stdout
    [share] = re.findall(r"([\d.]+) % of \d+ without a driver", done.stdout)
    assert float(share) > 60  # of what six devices could do
