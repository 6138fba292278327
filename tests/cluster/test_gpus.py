"""GPUs that are names only: every trial sees its own, and none is given to more trials than it has room for."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from plml.report_log import CLOCK, read_reports

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
March = Callable[..., Any]


def uses(siege: Any) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return when trials were trained, from the begin of the first epoch to the end of the last, by GPU."""
    found = defaultdict(list)
    for tags in siege.tags():
        reports = read_reports(siege.where.trial(tags["plml.key"]))
        begin = reports[0].time - reports[0].metrics[CLOCK]
        found[tags["plml.node"], tags["plml.devices"]].append((begin, reports[-1].time))
    return dict(found)


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """Return how many spans overlap at most."""
    events = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    height = most = 0
    for _, step in events:
        height += step
        most = max(most, height)
    return most


def study(march: March, gpu: float, n_trials: int) -> Any:
    base = {**march.study["base"], "epochs": 6}  # type: ignore[attr-defined]
    return march(changes={"resources": {"cpu": 1, "gpu": gpu}, "base": base, "n_trials": n_trials})


def test_machines_of_two_and_one_gpus(cluster: Any, march: March, say: Callable[[str], None]) -> None:
    cluster.add(cpus=4, gpus=2)
    cluster.add(cpus=4, gpus=1)
    first, second = (machine.address for machine in cluster.machines)
    every = {(first, "0"), (first, "1"), (second, "0")}
    for gpu, n_trials, a_device in [(1, 6, 1), (0.4, 10, 2)]:
        siege = study(march, gpu, n_trials)
        assert siege.run() == 0, siege.out()
        assert f"training {3 * a_device} at once" in siege.out()
        siege.check(f"trials of {gpu:g} GPU", 0)
        spans = uses(siege)
        assert set(spans) == every  # one device each, and all of them
        most = {place: most_at_once(each) for place, each in spans.items()}
        in_all = most_at_once([span for each in spans.values() for span in each])
        say(f"{gpu:g} GPU a trial on 2 + 1: at most {in_all} at once, {sorted(most.values())} a device")
        assert max(most.values()) == a_device
        assert in_all >= 2

    siege = study(march, 3, 2)
    assert siege.run() == 2
    assert "a trial asks for 3 GPU of one machine, and no machine has more than 2" in siege.out()
