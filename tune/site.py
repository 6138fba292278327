"""Where workers find their study: in its folder, if their machine sees it, or in a store that all machines reach."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plml.errors import ConfigError

LOOK_S = 300.0  # for a machine to start a process that has imported everything, from a slow file system


@dataclass(frozen=True)
class Site:
    """A launch, as its workers see it.

    Attributes:
        root: folder of the study on the driver's machine.
        sign: what the file ``.launch`` in it says; None: nobody needs to see it.
        store: URL of a folder in which runs are kept between machines; None: they are in ``root``.
        mail: name under which Ray passes on letters between driver and workers.
    """

    root: str = ""
    sign: str | None = None
    store: str | None = None
    mail: str = ""

    @property
    def witness(self) -> Path:
        """The file by which a worker knows that it sees the driver's folder."""
        return Path(self.root) / ".launch"

    def trouble(self) -> str | None:
        """Return what keeps this process from reaching the study's files, naming machine and path; None: nothing."""
        if self.store is not None or self.sign is None:
            return None
        try:
            seen = self.witness.read_text(encoding="utf-8")
        except OSError as error:
            seen = f"({error.strerror})"
        if seen == self.sign:
            return None
        return (
            f"machine {machine()} does not see the study's folder {self.root} {seen if seen.startswith('(') else ''}; "
            "mount it there under the same path, or keep runs in a store with --run-store URL"
        ).replace("  ", " ")


def machine() -> str:
    """Return this machine's name and address in the cluster."""
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def look(site: Site) -> str | None:
    """Import what a worker needs and return what keeps this machine from working; run on each of them."""
    import tune.crew  # noqa: F401

    return site.trouble()


def check_machines(site: Site) -> None:
    """Have every machine of the cluster look at the study, before anything is trained.

    Raises:
        ConfigError: one of them cannot work; the message names it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[remote.options(scheduling_strategy=strategy).remote(site)] = node["NodeManagerAddress"]
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=LOOK_S)
    troubles: Sequence[str] = [f"machine {asked[each]} did not start a worker within {LOOK_S:g} s" for each in late]
    for each in ready:
        try:
            trouble = ray.get(each)
        # It went meanwhile, or had gone and Ray did not know yet. Whatever comes later is looked at by its workers.
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            continue
        except ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            trouble = f"machine {asked[each]} cannot run a worker: {lines[-1].strip()[:300]}"
        troubles = [*troubles, *([trouble] if trouble else [])]
    if troubles:
        more = f" (and {len(troubles) - 1} more machines)" if len(troubles) > 1 else ""
        raise ConfigError(troubles[0] + more)
