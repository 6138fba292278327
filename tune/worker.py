"""What Ray runs: a trial or a crew, in the study's folder or away from it, and the line to the driver."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from tune.away import Away, open_away
from tune.crew import Orders, run_crew
from tune.orders import open_orders
from tune.orphans import end_with_parent
from tune.site import Site
from tune.trainable import Task, TrialReport, failure_of, run_task

Tell = Callable[[list[TrialReport]], Orders]
Run = Callable[[Sequence[Task], Tell], None]


def ray_trial(config: dict[str, Any], site: Site) -> None:
    """The Ray trainable: run ``config["task"]``, or the tasks of ``config["crew"]``, and report to the driver."""
    end_with_parent()
    alone = "task" in config
    tasks = [Task(**task) for task in ([config["task"]] if alone else config["crew"])]
    tell: Tell = _report if alone else _exchange(config)
    run: Run = _run_alone if alone else run_crew
    trouble = site.trouble()
    if trouble is not None:
        tell([TrialReport("storage", detail=trouble, key=task.key) for task in tasks])
        return
    away = open_away(site)
    if away is None:
        run(tasks, tell)
        return
    with closing(away):
        _run_away(tasks, tell, run, away, alone=alone)


def _run_alone(tasks: Sequence[Task], tell: Tell) -> None:
    [task] = tasks

    def report(told: TrialReport) -> None:
        tell([replace(told, key=task.key)])

    run_task(task, report)


def _run_away(tasks: Sequence[Task], tell: Tell, run: Run, away: Away, *, alone: bool) -> None:
    """Train on this machine's disk; trouble with the store is told as that of any storage."""
    taken, lost = away.take_all(tasks)

    def exchange(told: list[TrialReport]) -> Orders:
        try:
            away.keep(told, each_epoch=alone)
        except OSError as error:
            failures = [failure_of(error, key) for key in away.keys]
            tell([*(each for each in failures if each is not None), *(one for one in told if one.key not in away.keys)])
            return Orders(stop=away.drop_all())
        orders = tell([*lost, *told])
        lost.clear()
        start, not_taken = away.take_all(orders.start)
        lost.extend(not_taken)
        return replace(orders, start=start)

    if taken:
        run(taken, exchange)
    if lost:
        tell(lost)


def _report(told: list[TrialReport]) -> Orders:
    """Report of a trial that has a worker to itself; a scheduler that stops it does so in here."""
    from ray.tune import report

    for one in told:
        report({**asdict(one), **_place()})
    return Orders()


def _exchange(config: dict[str, Any]) -> Tell:
    """Return how a crew reports and gets its orders."""
    from ray.tune import report

    name, book, numbers = config["name"], open_orders(config["orders"]), count()

    def exchange(told: list[TrialReport]) -> Orders:
        report({"told": [asdict(one) for one in told], **_place()})  # returns once the driver has dealt with it
        return book.take(name, next(numbers))

    return exchange


def _place() -> dict[str, str]:
    """What the driver does not know of where this process is; Ray tells it the machine."""
    return {"devices": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
