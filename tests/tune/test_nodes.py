"""How many trials fit on machines, each of them on one."""

import subprocess
import sys
from pathlib import Path

import pytest

from plml.errors import ConfigError
from tune.nodes import Node, plan_for
from tune.study_file import ResourcesConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("cpu", "gpu", "nodes", "concurrent"),
    [
        (1, 0, [Node(2, 0), Node(3, 0)], 5),
        (2, 0, [Node(3, 0), Node(3, 0)], 2),  # not three on six cores
        (1, 0.4, [Node(8, 2), Node(8, 1)], 6),
        (1, 1, [Node(8, 2), Node(8, 0)], 2),
        (4, 1, [Node(4, 4), Node(8, 1)], 2),  # cores bound one machine, GPUs the other
        (1, 2, [Node(8, 3), Node(8, 1)], 1),
        (1, "auto", [Node(8, 2), Node(8, 0)], 2),
    ],
)
def test_each_trial_is_on_one_machine(cpu: int, gpu: float, nodes: list[Node], concurrent: int) -> None:
    plan = plan_for(ResourcesConfig(cpu=cpu, gpu=gpu), nodes)
    assert plan.concurrent == concurrent
    assert not plan.own
    assert plan_for(ResourcesConfig(cpu=cpu, gpu=gpu, max_concurrent=1), nodes).concurrent == 1


@pytest.mark.parametrize(
    ("cpu", "gpu", "rule"),
    [
        (9, 0, "asks for 9 CPU cores, and there are 8"),
        (5, 0, "5 CPU cores of one machine, and none has them"),
        (4, 1, "4 CPU cores and 1 GPU of one machine"),
    ],
)
def test_no_machine_has_enough(cpu: int, gpu: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        plan_for(ResourcesConfig(cpu=cpu, gpu=gpu), [Node(4, 0), Node(3, 1), Node(1, 1)])


def test_joining_a_cluster_does_not_import_tune() -> None:
    """Another thread imports it at that time; two that do find modules half made."""
    code = "import sys, ray, tune.execution, tune.nodes, tune.shipping, tune.starting; print('ray.tune' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"
