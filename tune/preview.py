"""What a study would do, before it does it: ``--dry-run`` and ``--smoke``."""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plml.config import TrainConfig, make_config
from plml.wording import clock
from tune.execution import Plan, local_resources, make_plan
from tune.folders import StudyFolder
from tune.launch import prepare_study_data
from tune.ranges import Choice
from tune.space import Dimension, SearchSpace
from tune.study import Study
from tune.study_file import PrunerConfig

TRIAL_START_S = 0.5  # a warm worker takes a trial within so much
RAY_START_S = 15.0  # Ray, and the imports of its first workers


def space_table(space: SearchSpace) -> Table:
    """Return the search space as a table: path, values, condition."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("path", "values", "only when"):
        table.add_column(column)
    for dimension in space.dimensions:
        table.add_row(escape(dimension.path), escape(_values(dimension)), escape(dimension.condition()))
    return table


def _values(dimension: Dimension) -> str:
    if isinstance(dimension.range, Choice):
        return " | ".join(map(str, dimension.range.choices))
    return dimension.range.describe() + (", or exactly 0" if dimension.or_zero else "")


def dry_run(study: Study, folder: StudyFolder, options: argparse.Namespace, console: Console) -> int:
    """Print space, budget, concurrency and time; nothing is written outside a temporary folder."""
    budget, config = study.budget(), study.config
    if options.address:
        console.print(f"the cluster at {options.address} is not asked; the plan is for this machine")
    plan = make_plan(config.resources, *local_resources())
    console.print(f"[bold]{study.name}[/bold]: {escape(config.description)}")
    console.print(space_table(study.space))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("budget", f"{budget} configurations of up to {study.base.total_epochs} epochs, {_begun(folder)}")
    facts.add_row("objective", f"{config.objective.mode} of {config.objective.metric} (best epoch so far)")
    facts.add_row(
        "sampler", f"{config.sampler.name}, seed {config.sampler.seed}; {len(study.points)} points tried first"
    )
    facts.add_row("pruner", config.pruner.name)
    facts.add_row("training", plan.describe())
    crew = crew_size(study, study.base, plan)
    if crew > 1:
        facts.add_row("population", f"a worker trains up to {crew} trials at once")
    console.print(facts, soft_wrap=True)
    console.print("images that were never decoded and features never computed come first; they are kept for the study")
    prepare_study_data(study)
    configs = study.space.by_method()
    console.print(f"timing one epoch of {'each method' if len(configs) > 1 else 'a trial'}, at the first of its values")
    epochs = study.base.total_epochs * len(config.seeds or [0])
    told: list[str] = []
    trial = 0.0
    for method, one in configs.items():
        with console.status(f"timing one epoch of {method} ({len(told) + 1} of {len(configs)}) ..."):
            size = crew_size(study, one, plan)
            seconds = time_epoch(one, size)
        told.append(f"{method} {seconds:.2g} s")
        trial += (epochs * seconds + TRIAL_START_S / size) / len(configs)
    total = budget * trial / plan.concurrent + RAY_START_S
    console.print(f"one epoch of a trial took: {', '.join(told)}")
    console.print(f"the study takes about {clock(total)} if no trial is pruned and each method gets as many trials")
    return 0


def _begun(folder: StudyFolder) -> str:
    """How far the study is, read without its lock."""
    if not folder.storage_file.is_file():
        return "none begun yet"
    from tune.records import ENDED, counted_trials, open_study

    trials = counted_trials(open_study(folder))
    return f"{sum(trial.state in ENDED for trial in trials)} of them done"


def crew_size(study: Study, config: TrainConfig, plan: Plan) -> int:
    """Return how many trials a worker will train at once, if all are like ``config``."""
    from plml.population import is_stackable
    from tune.crew_size import crew_limit

    if not is_stackable(config):
        return 1
    share = math.ceil(study.budget() / (2 * plan.concurrent))
    return min(share, crew_limit(study.config, study.budget(), concurrent=plan.concurrent, gpu=plan.gpu))


def time_epoch(config: TrainConfig, crew: int = 1) -> float:
    """Return the seconds that an epoch of ``config`` takes a run when ``crew`` of them are trained at once.

    Trains in a temporary folder.
    """
    from plml.population import Population
    from tune.trainable import open_trainer

    config = config.model_copy(update={"epochs": 3 if crew > 1 else 1, "linear_init": None})
    if config.mode == "linear_init":
        config = config.model_copy(update={"mode": "end_to_end"})
    with tempfile.TemporaryDirectory(prefix="plml-") as temporary:
        trainers = [open_trainer(config, Path(temporary) / str(place)) for place in range(crew)]
        if crew == 1:
            return float(next(trainers[0].epochs()).metrics["time/epoch_s"])
        population = Population(trainers)
        population.epoch()  # traces the loss
        began = time.perf_counter()
        population.epoch()
        return (time.perf_counter() - began) / crew


def smoke(study: Study, options: argparse.Namespace, console: Console) -> int:
    """Run 2 trials of 1 epoch with everything else as it would be, in a temporary folder; return the exit code."""
    from tune.launch import run_study

    with tempfile.TemporaryDirectory(prefix="plml-") as temporary:
        output = Path(temporary)
        folder = StudyFolder(output / study.name)
        anew = {"storage": None, "run_store": None, "fork": None, "retry_failed": False, "force_alias": False}
        options = argparse.Namespace(**{**vars(options), **anew})
        with folder.hold():
            command = "(a smoke run is not continued)"
            code = run_study(shortened(study), folder, f"sqlite:///{output}/mlflow.db", options, command)
    console.print("smoke run passed" if code == 0 else f"[red]smoke run ended with exit code {code}[/red]")
    return code


def shortened(study: Study) -> Study:
    """Return the study with 2 trials of 1 epoch a stage, none of them pruned."""
    tree: dict[str, Any] = {**study.space.base_tree, "epochs": 1}
    if study.base.linear_init is not None:
        tree["linear_init"] = {**study.base.linear_init.model_dump(), "epochs": 1}
    dimensions = tuple(d for d in study.space.dimensions if d.path not in ("epochs", "linear_init.epochs"))
    config = study.config.model_copy(update={"n_trials": 2, "pruner": PrunerConfig()})
    return replace(study, config=config, space=SearchSpace(dimensions, tree, make_config(tree)))
