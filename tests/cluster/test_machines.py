"""Machines come and go: trials are spread over them, a new one is used, and one that dies loses nothing."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
ONE = {"cpu": 1, "gpu": 0}


def test_a_machine_dies_and_another_comes(cluster: Any, march: Callable[..., Any], say: Callable[[str], None]) -> None:
    for _ in range(3):
        cluster.add(cpus=1)
    # Longer trials: a worker that starts while others end and begin short ones comes too late for each of them.
    base = {**march.study["base"], "epochs": 40}  # type: ignore[attr-defined]
    siege = march(changes={"resources": ONE, "base": base, "n_trials": 6})
    process = siege.start()
    siege.wait_until(lambda: all(siege.training(each.pids()) for each in cluster.machines), process)
    siege.wait(siege.epochs() + 4, process)
    lost = cluster.machines[2]
    pids = lost.pids()
    assert siege.training(pids)
    lost.kill()
    killed = time.monotonic()
    siege.wait_until(lambda: not siege.training(pids), process)
    say(f"a machine was killed: its trial goes on elsewhere after {time.monotonic() - killed:.0f} s")
    new = cluster.add(cpus=1)
    added = time.monotonic()
    siege.wait_until(lambda: bool(siege.training(new.pids())), process)
    say(f"a machine was added: it trains {time.monotonic() - added:.0f} s after Ray is up on it")
    assert siege.finish(process) == 0, siege.out()
    assert "the cluster has 2 machines now, 2 trials at once" in siege.out()
    assert "the cluster has 3 machines now, 3 trials at once" in siege.out()
    siege.check("SIGKILL of a machine, and another one in its place", 1)
    assert siege.attempts() == {1}
    spread = Counter(tags["plml.node"] for tags in siege.tags())
    say(f"trials that ended, by machine: {sorted(spread.items())}")
    assert {cluster.machines[place].address for place in (0, 1, 3)} <= set(spread)
