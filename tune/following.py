"""A cluster's room for trials, machine by machine, and a study that uses what comes and does without what goes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune import Callback
from ray.tune.search import ConcurrencyLimiter

from plml.errors import ConfigError
from tune.execution import Plan, make_plan, trials_at_once
from tune.stopping import Stopper
from tune.study_file import ResourcesConfig
from tune.trial_source import TrialSource

LOOK_EVERY_S = 2.0


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


class Following(Callback):
    """Lets as many trials be in progress as the cluster has room for now; looks every two seconds.

    Args:
        limiter: between Tune and the source of trials.
        source: is told of the room.
        resources: of a trial.
        stopper: tells the user.
    """

    def __init__(
        self, limiter: ConcurrencyLimiter, source: TrialSource, resources: ResourcesConfig, stopper: Stopper
    ) -> None:
        self.limiter, self.source, self.resources, self.stopper = limiter, source, resources, stopper
        self._look_at = 0.0
        self._nodes: list[Node] | None = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, if it is time to."""
        del iteration, trials, info
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        nodes = nodes_now()
        if nodes == self._nodes:
            return
        before, self._nodes = self._nodes, nodes
        try:
            room = plan_for(self.resources, nodes).concurrent
        except ConfigError as error:
            self.stopper.tell(f"{error}; waiting for another machine")
            room = 1
        self.limiter.max_concurrent = room
        self.source.on_room(room)
        if before is not None:
            self.stopper.tell(f"the cluster has {len(nodes)} machines now, {room} trials at once")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it beside its results; nobody reads that file."""
        return {}
