"""Train what a grid lacks: searches and runs, on the same Ray as studies."""

import argparse
import math
from collections.abc import Sequence
from contextlib import ExitStack

from ablations.grid import Grid
from ablations.grid_runs import GridRuns
from ablations.plan import CellPlan, data_configs, missing_runs, open_searches, runs_of
from ablations.search import CellSearch, open_ledger
from ablations.source import GridSource, Named
from ablations.store import Store
from plml.terminal import Terminal
from tune.crew_size import crew_limit, most_in_crew
from tune.driving import drive
from tune.folders import StudyFolder
from tune.launch import prepare_data, say_why
from tune.ledger import Ledger
from tune.orders import Book, order_book
from tune.progress import StudyProgress
from tune.run_queue import PlannedRun, RunQueue, by_kind
from tune.searcher import LedgerSearcher
from tune.starting import StartingCluster
from tune.stopping import Stopper
from tune.trial_runs import TrialRuns


def train(
    grid: Grid,
    store: Store,
    folder: StudyFolder,
    plans: Sequence[CellPlan],
    uri: str,
    options: argparse.Namespace,
    terminal: Terminal,
) -> tuple[bool, dict[str, str], GridRuns]:
    """Train what is left.

    Returns:
        Whether somebody interrupted, why runs failed by their key, and the MLflow side with what it knows.
    """
    resources = grid.config.resources
    cluster = StartingCluster(resources, options.address)
    with cluster.meanwhile():
        for config, methods in data_configs(grid):
            prepare_data(config, methods)
        runs = GridRuns(uri, grid, terminal.warn)
        runs.open()
    stopper = Stopper(terminal.warn)
    with cluster as plan, ExitStack() as stack, stopper.watch():
        ledgers = {
            place: stack.enter_context(open_ledger(search, options.storage, stopper, terminal.warn))
            for place, search in open_searches(plans).items()
        }
        terminal.print(f"training {plan.describe()}")
        stopper.after(grid.config.time_budget)
        waiting = missing_runs(plans)
        runs.expect([run for each in plans for run in each.runs])
        progress = StudyProgress(
            terminal,
            metric="selection/best",
            mode="max",
            total=_to_train(plans, ledgers, len(waiting)),
            concurrent=plan.concurrent,
            epochs=max(cell.config.total_epochs for cell in grid.cells),
        )
        orders = order_book(folder.path / ".orders", shared=plan.own)
        queue = RunQueue(
            by_kind([run.planned for run in waiting]),
            progress,
            runs,
            gpu=plan.gpu,
            stopper=stopper,
            crew=most_in_crew(resources, gpu=plan.gpu),
            orders=orders,
            concurrent=plan.concurrent,
        )
        searches = {
            search: _searcher(ledgers[place], progress, place, search, queue, orders, len(ledgers), plan.concurrent)
            for place, search in open_searches(plans).items()
        }
        places = {search: place for place, search in open_searches(plans).items()}

        def tuned(search: CellSearch) -> list[PlannedRun]:
            place, ledger = places[search], ledgers[places[search]]
            ledger.flush()
            searched = search.of(ledger.optuna)
            if not searched.ended:
                return []  # it gave up, and is to go on another time
            found = runs_of(grid, store, place, search.cell, searched)
            runs.expect(found)
            return [run.planned for run in found if not run.finished]

        source = GridSource(searches, queue, tuned)
        try:
            interrupted = drive(source, plan, folder.path, stopper, progress, orders)
        finally:
            for ledger in ledgers.values():
                ledger.flush()
    say_why(stopper, grid.config.time_budget)
    return interrupted, queue.failures, runs


def _searcher(
    ledger: Ledger,
    progress: StudyProgress,
    place: int,
    search: CellSearch,
    queue: RunQueue,
    orders: Book,
    searches: int,
    concurrent: int,
) -> LedgerSearcher:
    """Who asks for the trials of one cell's search; while there are many cells, each is one worker's."""
    config = ledger.study.config
    return LedgerSearcher(
        ledger,
        TrialRuns(None, ledger, warn=lambda _: None),
        Named(progress, place, search.cell.label),
        gpu=queue.gpu,
        stopper=queue.stopper,
        crew=crew_limit(config, ledger.n_trials, concurrent=max(1, concurrent // searches), gpu=queue.gpu),
        orders=orders,
        shares=math.ceil(2 * concurrent / searches) if searches < 2 * concurrent else 1,
    )


def _to_train(plans: Sequence[CellPlan], ledgers: dict[int, Ledger], waiting: int) -> int:
    """Trainings that are left: trials of searches, known runs, and those that follow from searches."""
    trials = sum(ledger.n_trials - ledger.ended() for ledger in ledgers.values())
    later = sum(plan.planned - 1 for plan in plans if plan.place in ledgers)  # the chosen trial is one of them
    return trials + waiting + later
