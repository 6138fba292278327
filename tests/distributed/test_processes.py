# ruff: noqa: PT012 - what fails is the block as a whole
"""Whatever ends one process of a training on several devices ends all of them, soon and with its reason."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from plml.config import TrainConfig, make_config
from plml.data.load import load_bundle
from plml.distributed import DeviceGroupError, open_group
from plml.distributed.leader import Leader
from plml.trainer import Trainer

pytestmark = pytest.mark.chaos

TIMEOUT_S, SOON_S = 12.0, 12.0
LEADER = """
import sys, torch
from pathlib import Path
from plml.config import make_config
from plml.data.load import load_bundle
from plml.distributed import open_group
from plml.trainer import Trainer
config = make_config({tree})
with open_group(config, 3) as group:
    trainer = Trainer(config, load_bundle(config, device=torch.device("cpu")), Path(sys.argv[1]), group=group)
    for report in trainer.epochs():
        print(*group.followers.pids, group.followers.folder, flush=True)
        {then}
"""
TREE = {
    "epochs": 500,
    "device": "cpu",
    "method": "role",
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 64, "num_val": 20, "num_test": 20},
    },
}


@pytest.fixture
def config() -> TrainConfig:
    return make_config(TREE)


def opened(config: TrainConfig, folder: Path, group: Leader) -> Trainer:
    return Trainer(config, load_bundle(config, device=torch.device("cpu")), folder, group=group)


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def gone_within(pids: list[int], limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pids)


@pytest.fixture
def family() -> Iterator[list[int]]:
    """Process ids that a test notes, so that nothing outlives it even if it fails."""
    pids: list[int] = []
    yield pids
    for pid in alive(pids):
        os.kill(pid, signal.SIGKILL)


def test_a_killed_process_fails_the_training_with_its_reason(
    tmp_path: Path, config: TrainConfig, family: list[int]
) -> None:
    began = 0.0
    with (
        pytest.raises(DeviceGroupError, match=r"device 1 \(process \d+\) was ended by signal SIGKILL"),
        open_group(config, 3, timeout_s=60) as group,
    ):
        assert isinstance(group, Leader)
        family += group.followers.pids
        for number, _ in enumerate(opened(config, tmp_path, group).epochs()):
            if number == 1:
                os.kill(family[0], signal.SIGKILL)
                began = time.monotonic()
    assert time.monotonic() - began < SOON_S
    assert not alive(family)
    assert not group.followers.folder.exists()
    assert not torch.distributed.is_initialized()


def test_an_error_in_a_process_is_told(tmp_path: Path, config: TrainConfig, family: list[int]) -> None:
    with (
        pytest.raises(DeviceGroupError, match=r"device [12] \(process \d+\) failed: IndexError: list index out of"),
        open_group(config, 3, timeout_s=60) as group,
    ):
        assert isinstance(group, Leader)
        family += group.followers.pids
        for _ in opened(config, tmp_path, group).epochs():
            group.followers.tell({"do": "epoch", "run": 7})
    assert not alive(family)


def test_a_process_that_hangs_is_noticed(tmp_path: Path, config: TrainConfig, family: list[int]) -> None:
    began = 0.0
    with (
        pytest.raises(DeviceGroupError, match="did not answer each other in time"),
        open_group(config, 2, timeout_s=TIMEOUT_S) as group,
    ):
        assert isinstance(group, Leader)
        family += group.followers.pids
        for _ in opened(config, tmp_path, group).epochs():
            os.kill(family[0], signal.SIGSTOP)
            began = time.monotonic()
    assert TIMEOUT_S - 1 < time.monotonic() - began < TIMEOUT_S + SOON_S
    assert not alive(family)


def test_a_process_that_cannot_start_is_noticed(tmp_path: Path, config: TrainConfig, family: list[int]) -> None:
    with pytest.raises(DeviceGroupError, match=r"was ended by signal SIGTERM"), open_group(config, 2) as group:
        assert isinstance(group, Leader)
        family += group.followers.pids
        os.kill(family[0], signal.SIGTERM)
        opened(config, tmp_path, group)
    assert not alive(family)


def test_stopping_in_the_middle_leaves_nothing(tmp_path: Path, config: TrainConfig, family: list[int]) -> None:
    with open_group(config, 2) as group:
        assert isinstance(group, Leader)
        family += group.followers.pids
        trainer = opened(config, tmp_path, group)
        with closing(trainer.epochs()) as epochs:
            next(epochs)
    assert not alive(family)
    assert (tmp_path / "last.pt").is_file()
    with open_group(config, 2) as group:
        assert isinstance(group, Leader)
        family += group.followers.pids
        again = opened(config, tmp_path, group)
        assert next(again.epochs()).epoch == 1
    assert not alive(family)


@pytest.mark.parametrize(
    ("then", "stopped"),
    [("pass", False), ("pass", True), ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", False)],
    ids=["training", "others stopped", "between epochs"],
)
def test_others_end_with_a_killed_leader(tmp_path: Path, family: list[int], then: str, stopped: bool) -> None:
    script = LEADER.format(tree=TREE, then=then)
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        *pids, folder = leader.stdout.readline().split()
        family += [leader.pid, *map(int, pids)]
        assert len(alive(family)) == 3
        for pid in family[1:] if stopped else ():
            os.kill(pid, signal.SIGSTOP)
        os.kill(leader.pid, signal.SIGKILL)
    assert gone_within(family[1:], SOON_S)
    with open_group(make_config(TREE), 2):
        pass
    assert not Path(folder).exists()  # what a killed leader leaves, the next one removes
