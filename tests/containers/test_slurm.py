"""``docker/slurm.sh`` on loopback: Slurm's own commands and variables are stood in for, Ray and the study are real."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tune.folders import StudyFolder
from tune.records import counted_trials, open_study, state_of

ROOT = Path(__file__).parents[2]
LIMIT_S = 1200.0
STUDY = {
    "base": {
        "epochs": 30,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 320, "num_val": 60, "num_test": 80},
        },
    },
    "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "sampler": {"name": "random", "seed": 7},
    "resources": {"cpu": 1, "gpu": 0},
    "n_trials": 4,
    "track": {"top_k": 1},
}
# Writes down how it was called; srun runs the command here, as a second machine of the cluster.
SRUN = """#!/bin/sh
echo "srun $*" >>"$CALLS"
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/sh
echo "scontrol $*" >>"$CALLS"
"""


@pytest.fixture
def allocation(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two nodes."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLURM", "PYTHONPATH"))}
    return kept | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls.txt"),
        "HOME": str(tmp_path),
        "VIRTUAL_ENV": str(ROOT / ".venv"),
        "OMP_NUM_THREADS": "1",
        "PLML_HEAD_IP": "127.0.0.1",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURMD_NODENAME": "node1",
    }


def _start(folder: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = ["bash", "docker/slurm.sh", "--study", str(folder / "small.yaml"), "--output-dir", str(folder / "out")]
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def _epochs(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("out/small/trials/*/metrics.jsonl"))


@pytest.mark.cluster
@pytest.mark.timeout(3900)
def test_time_runs_out_and_the_next_job_goes_on(tmp_path: Path, allocation: dict[str, str]) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(STUDY))
    calls, said = tmp_path / "calls.txt", tmp_path / "out.txt"
    job = _start(tmp_path, allocation)
    try:
        deadline = time.monotonic() + LIMIT_S
        while _epochs(tmp_path) < 20:
            assert job.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        assert "2 at once" in said.read_text() or "1 at once" in said.read_text()
        job.send_signal(signal.SIGUSR1)  # as Slurm sends it, to the script alone
        assert job.wait(LIMIT_S) == 4, said.read_text()
        before = _epochs(tmp_path)
        assert before < 120
        srun, requeue = calls.read_text().splitlines()
        assert srun.startswith("srun --nodes=1 --ntasks=1 --exclude=node1 ray start --block --address 127.0.0.1:")
        assert requeue == f"scontrol requeue {os.getpid()}"
        assert (tmp_path / ".plml-ray-token").stat().st_mode & 0o777 == 0o600

        job = _start(tmp_path, allocation)
        assert job.wait(LIMIT_S) == 0, said.read_text()
        assert calls.read_text().count("scontrol") == 1
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    trials = counted_trials(open_study(StudyFolder(tmp_path / "out" / "small")))
    assert [state_of(trial) for trial in trials] == ["COMPLETE"] * 4
    assert _epochs(tmp_path) == 120  # none trained twice


def test_the_script_is_bash_and_asks_for_a_signal_before_its_time_is_over() -> None:
    file = ROOT / "docker" / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0
    text = file.read_text()
    assert "#SBATCH --signal=B:USR1@300 --requeue" in text
    assert os.access(file, os.X_OK)
    commands = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not any(line.strip().startswith("ray stop") for line in commands)  # it would end other jobs' Ray as well
