"""A process whose Ray has died replaces itself by its own command, a bounded number of times."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
    import math, os, subprocess, sys, time
    sys.path.insert(0, {root!r})
    from tune.relaunch import COUNTER, Relaunch

    print("start", os.environ.get(COUNTER, "0"), os.getpid(), *sys.argv[1:], flush=True)
    keeper = subprocess.Popen([{raylet!r}, "60"])
    relaunch = Relaunch()
    assert relaunch.dead() is None
    keeper.kill()
    keeper.wait() if "reaped" in sys.argv else time.sleep(0.3)
    if "progress" in sys.argv:
        relaunch.note_progress()
        print("left", relaunch._count)
        sys.exit(0)
    if "blocked" in sys.argv:
        with relaunch.watching(lambda: "stopped" in sys.argv, math.inf, grace_s=0.5):
            time.sleep(600)  # as a call of Ray that never returns
    if "ended" in sys.argv:
        with relaunch.watching(lambda: False, math.inf, grace_s=2):
            time.sleep(1.5)  # until the death is seen
        time.sleep(2)
        sys.exit(0)
    if "stopped" in sys.argv:
        relaunch.now(relaunch.dead(), again=False)
    relaunch.now(relaunch.dead())
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    raylet = tmp_path / "raylet"
    shutil.copy(shutil.which("sleep") or "", raylet)
    file = tmp_path / "command.py"
    file.write_text(textwrap.dedent(SCRIPT.format(root=str(ROOT), raylet=str(raylet))))
    return file


@pytest.mark.parametrize("how", ["zombie", "reaped", "blocked"])
def test_it_starts_over_five_times_and_then_ends_as_interrupted(script: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, str(script), how, "--fresh", "--yes"], capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 4, done.stderr
    assert [line[1] for line in lines] == ["0", "1", "2", "3", "4", "5"]
    assert len({line[2] for line in lines}) == 1  # the same process
    assert lines[0][3:] == [how, "--fresh", "--yes"]
    assert lines[1][3:] == [how]  # what must not happen twice
    assert done.stderr.count("Ray's raylet died; starting again") == 5
    assert "nothing is lost" in done.stderr


def test_progress_begins_the_count_anew(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "progress"], capture_output=True, text=True, timeout=60, check=True,
        env={"PLML_RELAUNCHES": "4"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "left 0"


def test_nothing_starts_over_once_ray_is_not_needed(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "ended"], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr


@pytest.mark.parametrize("how", [["stopped"], ["blocked", "stopped"]])
def test_a_launch_that_was_to_stop_does_not_start_over(script: Path, how: list[str]) -> None:
    done = subprocess.run([sys.executable, str(script), *how], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert len(done.stdout.splitlines()) == 1
    assert "nothing is lost" in done.stderr
