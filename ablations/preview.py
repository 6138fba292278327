"""What a grid would train, before it does: ``--dry-run``."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ablations.grid import Grid
from ablations.plan import CellPlan
from plml.population import is_stackable
from plml.wording import clock
from tune.crew_size import most_in_crew
from tune.execution import Plan, local_resources, make_plan
from tune.preview import RAY_START_S, TRIAL_START_S, time_epoch


def dry_run(grid: Grid, plans: Sequence[CellPlan], console: Console) -> int:
    """Print cells, runs and time; nothing is written outside a temporary folder."""
    plan = make_plan(grid.config.resources, *local_resources())
    console.print(f"[bold]{grid.name}[/bold]: {escape(grid.config.description)}")
    console.print(cell_table(grid, plans))
    left = {each.place: _left(each) for each in plans}
    planned, missing = sum(each.planned for each in plans), sum(left.values())
    facts = Table.grid(padding=(0, 2))
    seeds, draws = grid.config.seeds, grid.config.label_draws
    facts.add_row("design", f"{grid.config.design.replace('_', ' ')}; compared with '{grid.baseline.label}'")
    sign = "x" if grid.config.pairing == "crossed" else "each with its own of"
    facts.add_row("repeats", f"seeds {_numbers(seeds)} {sign} label draws {_numbers(draws)}")
    if tuning := grid.config.tune_per_cell:
        facts.add_row("search", f"{tuning.n_trials} trials a cell, sampler {tuning.sampler.name}, in each the same")
    facts.add_row("test", f"{grid.config.test} of paired differences of {grid.config.metric}, corrected by Holm")
    facts.add_row("training", plan.describe())
    facts.add_row("runs", f"{planned}, and {missing} trainings are left")
    console.print(facts, soft_wrap=True)
    if not missing:
        return 0
    seconds = _estimate(grid, plans, left, plan, console)
    console.print(f"the trainings that are left take about {clock(seconds)} if none is pruned")
    return 0


def cell_table(grid: Grid, plans: Sequence[CellPlan]) -> Table:
    """Return one line a cell: its levels, the method, and how many of its runs are done."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(grid.factors)
    for column in ("cell", *names, "method", "setting", "done"):
        table.add_column(column)
    for each in plans:
        levels = [each.cell.levels[name].name if name in each.cell.levels else "-" for name in names]
        config = each.cell.config
        mark = " *" if each.cell is grid.baseline else ""
        done = f"{sum(run.finished for run in each.runs)} of {each.planned}"
        cells = [each.cell.label + mark, *levels, config.method["name"], config.data.observation["name"], done]
        table.add_row(*map(escape, cells))
    table.caption, table.caption_justify = "* baseline", "left"
    return table


def _left(plan: CellPlan) -> int:
    """Trainings of a cell that are left: trials of its search, and runs."""
    runs = sum(not run.finished for run in plan.runs)
    if plan.search is None or not plan.waits:
        return runs
    ended = sum(trial.state.is_finished() for trial in plan.search.trials)
    return plan.search.search.n_trials - ended + plan.planned - 1  # the chosen trial is one of the runs


def _estimate(grid: Grid, plans: Sequence[CellPlan], left: dict[int, int], plan: Plan, console: Console) -> float:
    """Seconds to the end: one epoch of one cell of each method and mode is timed."""
    crew = min(most_in_crew(grid.config.resources, gpu=plan.gpu), max(1, sum(left.values()) // plan.concurrent))
    timed: dict[str, float] = {}
    total = RAY_START_S
    with console.status("timing one epoch of every kind of cell ..."):
        for each in plans:
            config = each.cell.config
            if not left[each.place]:
                continue
            model = config.model
            kind = repr([config.mode, config.method["name"], model.backbone, model.head, config.optim.batch_size])
            size = crew if is_stackable(config) else 1
            if kind not in timed:
                timed[kind] = time_epoch(config, size)
            total += left[each.place] * (config.total_epochs * timed[kind] + TRIAL_START_S / size) / plan.concurrent
    return total


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
