"""A cluster's room for trials, machine by machine.

Nothing here imports ``ray.tune``: one thread joins the cluster while another imports Tune, and two that import it at
once meet its modules half made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plml.errors import ConfigError
from tune.execution import Plan, make_plan, trials_at_once
from tune.study_file import ResourcesConfig


@dataclass(frozen=True)
class Node:
    """What a machine gives Ray: CPU cores and GPUs."""

    cpus: float
    gpus: float


def nodes_now() -> list[Node]:
    """Return the machines of the cluster that this process has joined."""
    import ray

    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]


def plan_for(resources: ResourcesConfig, nodes: Sequence[Node]) -> Plan:
    """Return how many trials fit at once on machines, each of them on one.

    Raises:
        ConfigError: not even one trial fits.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    plan = make_plan(resources, cpus, gpus, own=False, nodes=[node.gpus for node in nodes])
    fits = sum(_room(node, plan.cpu, plan.gpu) for node in nodes)
    if not fits:
        gpu = f" and {plan.gpu:g} GPU" if plan.gpu else ""
        raise ConfigError(f"resources: a trial asks for {plan.cpu} CPU cores{gpu} of one machine, and none has them")
    wanted = fits if resources.max_concurrent == "auto" else min(resources.max_concurrent, fits)
    return Plan(plan.cpu, plan.gpu, wanted, cpus, gpus, own=False, hang_timeout=plan.hang_timeout, resources=resources)


def _room(node: Node, cpu: int, gpu: float) -> int:
    by_cpu = int(node.cpus // cpu)
    if not gpu:
        return by_cpu
    return min(by_cpu, trials_at_once(gpu, [node.gpus])) if node.gpus >= gpu else 0
