"""A study on a cluster uses machines that come and does without those that go."""

import time
from typing import Any

from ray.tune import Callback
from ray.tune.search import ConcurrencyLimiter

from plml.errors import ConfigError
from tune.nodes import Node, nodes_now, plan_for
from tune.stopping import Stopper
from tune.study_file import ResourcesConfig
from tune.trial_source import TrialSource

LOOK_EVERY_S = 2.0


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
