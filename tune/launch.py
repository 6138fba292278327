"""One launch of a study: check, lock, reconcile, run, close, report."""

import argparse
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.markup import escape
from rich.table import Table

from plml.checkpoint import write_text
from plml.config import ModelConfig, TrainConfig
from plml.errors import PlmlError
from plml.schema import read_yaml
from plml.terminal import terminal
from plml.user_path import user_path
from tune.arguments import ONCE
from tune.folders import StudyFolder, StudyHeldError
from tune.invocation import runner_command
from tune.run import study_options
from tune.study import Study, load_study
from tune.study_file import STUDIES, find_study, name_of, study_names
from tune.trouble import TroubleError

if TYPE_CHECKING:
    from tune.ledger import Ledger
    from tune.starting import StartingCluster
    from tune.stopping import Stopper
    from tune.trial_runs import TrialRuns

DONE, FAILED, INTERRUPTED = 0, 3, 4


def list_studies(options: argparse.Namespace) -> int:
    """Print the studies that come with the project and those begun in the output folder."""
    output = user_path(options.output_dir).absolute()
    table = Table(box=None, pad_edge=False)
    table.add_column("study")
    table.add_column("description")
    for name in study_names():
        tree = read_yaml((STUDIES / f"{name}.yaml").read_text(encoding="utf-8"), name)
        table.add_row(name, escape(str(tree.get("description", ""))))
        terminal.event("study", name=name, description=tree.get("description", ""))
    for file in sorted(output.glob("*/study.yaml")):
        table.add_row(file.parent.name, f"[dim]begun in {escape(str(file.parent))}[/dim]")
        terminal.event("study", name=file.parent.name, folder=file.parent)
    terminal.print(table)
    return DONE


def launch(options: argparse.Namespace, arguments: Sequence[str], cluster: "StartingCluster | None" = None) -> int:
    """Start or continue a study; return the exit code of :mod:`tune.run`.

    Args:
        options: of the command line.
        arguments: they, as text.
        cluster: Ray, if it is being started already.
    """
    output = user_path(options.output_dir).absolute()
    study = read_study(options, output)
    if options.download:
        fetch_weights([study.base.model])
    folder = StudyFolder(output / study.name)
    from plml.tracking import check_uri

    uri = check_uri(options.tracking_uri or f"sqlite:///{output}/mlflow.db")
    if options.dry_run or options.smoke:
        from tune import preview

        if options.dry_run:
            return preview.dry_run(study, folder, options, terminal)
        return preview.smoke(study, options, terminal)
    if options.fresh:
        from tune.renewal import begin_again

        options.storage = begin_again(folder, uri, terminal, storage=options.storage, sure=options.yes)
    command = continue_line(arguments)
    with folder.hold():
        return run_study(study, folder, uri, options, command, cluster)


def read_study(options: argparse.Namespace, output: Path) -> Study:
    """Read the study with everything the command line says about it."""
    file = find_study(options.study, output)
    return load_study(file, options.assignments, name=options.fork, options=study_options(options))


def continue_line(arguments: Sequence[str]) -> str:
    """Return the command that continues the study: this one, without what must not happen twice."""
    return shlex.join([*runner_command("tune/run.py"), *(word for word in arguments if word not in ONCE)])


def run_study(
    study: Study,
    folder: StudyFolder,
    uri: str | None,
    options: argparse.Namespace,
    command: str,
    cluster: "StartingCluster | None" = None,
) -> int:
    """Run what is left of a study whose lock is held; return the exit code."""
    from tune import renewal
    from tune.lease import holding
    from tune.ledger import Ledger
    from tune.stopping import Stopper
    from tune.trial_runs import TrialRuns
    from tune.two_databases import check_two_databases
    from tune.warm_start import find_teacher

    old = None
    if options.fork:
        old = renewal.old_study(folder, name_of(find_study(options.study, folder.path.parent)))
    storage = folder.storage(options.storage)
    check_two_databases(storage, uri)
    budget = study.budget()
    teacher = find_teacher(study, folder.path.parent)
    stopper = Stopper(terminal.warn)
    ledger: Ledger | None = None

    def lost(why: str) -> None:
        if ledger is not None:
            ledger.disown(why)
        stopper.lose(why)

    with holding(study.name, folder, storage, study.config.objective.mode, lost):
        ledger = Ledger(study, folder, storage, budget, say=terminal.warn, hurry=lambda: stopper.at_once)
        write_text(folder.storage_file, storage + "\n")
        write_text(folder.study_file, dump_study(study))
        if old is not None:
            renewal.learn(ledger, old, terminal)
        if teacher is not None:
            renewal.warm_start(ledger, teacher, terminal)
        runs = TrialRuns(uri, ledger, warn=terminal.warn)
        if (url := folder.run_store(options.run_store)) is not None:
            from tune.fetching import open_fetcher

            runs.fetcher = open_fetcher(url, folder, ledger.uid, terminal.warn)
        return _run(study, ledger, runs, stopper, options, command, cluster)


def _run(
    study: Study,
    ledger: "Ledger",
    runs: "TrialRuns",
    stopper: "Stopper",
    options: argparse.Namespace,
    command: str,
    cluster: "StartingCluster | None",
) -> int:
    """Run what is left of a study whose ledger nobody else writes; return the exit code."""
    from tune.records import ENDED

    budget = ledger.n_trials
    ledger.reconcile()
    retried = ledger.retry_failed() if options.retry_failed else 0
    _head(study, ledger.folder, command, budget)
    if changed := ledger.sign_code():
        terminal.warn(changed)
    if study.base.mode == "linear" and not ledger.begun():
        runs.open_study_later(lambda: _pages(runs))
    else:
        runs.open_study()
        _pages(runs)
    if ledger.begun():
        notes = [f"{ledger.ended()} of {budget} trials are done"]
        waiting = ledger.begun() - ledger.ended() - retried
        notes += [f"{waiting} interrupted trials go on where they stopped"] if waiting else []
        notes += [f"{retried} failed trials are tried again"] if retried else []
        terminal.print("going on: " + ", ".join(notes))
    runs.deliver()
    try:
        interrupted, gave_up = _train(study, ledger, runs, stopper, options, cluster)
        if runs.fetcher is not None:
            runs.fetcher.finish(ledger.trials(*ENDED))
    except StudyHeldError:
        raise  # another driver has it, and its run in MLflow
    except (PlmlError, OSError, KeyboardInterrupt) as error:
        resumable = isinstance(error, TroubleError | OSError | KeyboardInterrupt)
        runs.close_study("INTERRUPTED" if resumable else "FAILED", {})
        raise
    code = verdict(ledger, interrupted=interrupted, gave_up=gave_up)
    from tune.closing import close_study

    unfinished = ledger.has_work() and not ledger.exhausted
    close_study(ledger, runs, terminal, unfinished=unfinished, force_alias=options.force_alias)
    if code == FAILED:
        _explain_failures(ledger, study, gave_up=gave_up)
    elif ledger.has_work():
        _what_is_left(ledger, command, interrupted=interrupted)
    return code


def _what_is_left(ledger: "Ledger", command: str, *, interrupted: bool) -> None:
    """Say why the budget is not used up, and how to go on."""
    if ledger.exhausted:
        terminal.print(f"the search space holds no further configurations than these {ledger.begun()}")
        return
    why = "interrupted" if interrupted else "stopped"
    done = f"{why} after {ledger.ended()} of {ledger.n_trials} trials; nothing is lost. To continue:"
    terminal.event("unfinished", reason=why, ended=ledger.ended(), trials=ledger.n_trials, command=command)
    terminal.result(f"[yellow]{done}[/yellow]")
    terminal.result(f"  {escape(command)}", soft_wrap=True)


def _train(
    study: Study,
    ledger: "Ledger",
    runs: "TrialRuns",
    stopper: "Stopper",
    options: argparse.Namespace,
    cluster: "StartingCluster | None",
) -> tuple[bool, bool]:
    """Train the trials that are left; return whether somebody interrupted, and whether failures ended it."""
    if not ledger.has_work():
        return False, False
    from tune.starting import StartingCluster

    cluster = cluster or StartingCluster(study.config.resources, options.address)
    with cluster.meanwhile():
        prepare_study_data(study)
        from tune.image_changes import tell_changes, watch_images

        images = watch_images(ledger, terminal)
        from tune.crew_size import crew_limit
        from tune.driving import drive
        from tune.orders import order_book
        from tune.progress import StudyProgress
        from tune.records import ENDED, best_trials, state_of
        from tune.searcher import LedgerSearcher

    folder = ledger.folder
    with cluster as plan, stopper.watch():
        if runs.fetcher is not None:
            plan = replace(plan, store=runs.fetcher.store.url)
        terminal.print(f"training {plan.describe()}")
        stopper.after(study.config.time_budget)
        progress = StudyProgress(
            terminal,
            metric=study.config.objective.metric,
            mode=study.config.objective.mode,
            total=max(ledger.n_trials, ledger.begun()),
            concurrent=plan.concurrent,
            epochs=study.base.total_epochs,
        )
        progress.resume(Counter(map(state_of, ledger.trials(*ENDED))), next(iter(best_trials(ledger.optuna, 1)), None))
        orders = order_book(folder.path / ".orders", shared=plan.own)
        searcher = LedgerSearcher(
            ledger,
            runs,
            progress,
            gpu=plan.gpu,
            stopper=stopper,
            crew=crew_limit(study.config, ledger.n_trials, concurrent=plan.concurrent, gpu=plan.gpu),
            orders=orders,
            shares=2 * plan.concurrent,
        )
        interrupted = drive(searcher, plan, folder.path, stopper, progress, orders)
    tell_changes(images, terminal)
    say_why(stopper, study.config.time_budget)
    return interrupted, searcher.gave_up


def say_why(stopper: "Stopper", time_budget: float | None) -> None:
    """Say why a launch stopped, if it was not the user."""
    if stopper.reason == "time":
        terminal.print(f"the time budget of {time_budget:g} s is spent")
    elif stopper.reason == "trouble":
        terminal.warn(f"stopped: {stopper.trouble}")


def fetch_weights(models: Iterable[ModelConfig]) -> None:
    """Fetch torchvision weights that are named and not there yet; raises ConfigError."""
    from plml.models.weights import find_weights

    for model in models:
        if model.weights:
            find_weights(model, download=True)


def prepare_study_data(study: Study) -> None:
    """Prepare the data of a study, and refuse what it holds too little of for a method that would be trained."""
    searched = any(path.startswith("data.") for path in study.space.paths)  # then what a trial sees is its own
    prepare_data(study.base, () if searched else study.space.methods)


def prepare_data(config: TrainConfig, methods: Collection[str]) -> None:
    """Find, check and decode the data once, before workers share it.

    Args:
        config: names the data and the label setting.
        methods: will be trained on them.

    Raises:
        DataError: the data cannot be read.
        ConfigError: the data or the setting lack what a method needs.
    """
    import torch

    if torch.cuda.is_available():
        # In a process of its own: the driver would keep a part of the GPU's memory for as long as it lives.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(load_once, config.tree(), terminal.animated, methods).result()
    else:
        load_once(config.tree(), terminal.animated, methods)


def load_once(tree: dict[str, Any], progress: bool, methods: Collection[str]) -> None:
    """Load the data of a configuration and let go of it; decoded images and features stay in the cache."""
    from plml.config import make_config
    from plml.data.load import load_bundle
    from plml.device import pick_device
    from plml.labels import LabelInfo
    from plml.methods import METHODS

    config = make_config(tree)
    bundle = load_bundle(config, device=pick_device(config.device), progress=progress)
    for name in methods:
        METHODS[name].check(LabelInfo(bundle.train.observed, bundle.expected_positives, bundle.class_names))
    if config.mode == "linear_init":
        stage = config.model_copy(update={"mode": "linear", "linear_init": None})
        load_bundle(stage, device=pick_device(config.device), progress=progress)


def dump_study(study: Study) -> str:
    """Return the study as YAML, overrides applied; :func:`tune.study.load_study` reads it back."""
    tree = study.config.model_dump(mode="json", by_alias=True)
    tree["base"] = dict(study.space.base_tree)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _head(study: Study, folder: StudyFolder, command: str, budget: int) -> None:
    """The lines that tell where everything is."""
    lines = [
        ("study", f"{study.name}: {budget} trials over {', '.join(study.space.methods)}"),
        ("folder", str(folder.path)),
    ]
    lines.append(("continue", command))
    _print_lines(lines)
    terminal.event(
        "start",
        command="study",
        name=study.name,
        folder=folder.path,
        trials=budget,
        methods=study.space.methods,
        metric=study.config.objective.metric,
        mode=study.config.objective.mode,
    )


def _pages(runs: "TrialRuns") -> None:
    """Where MLflow shows the study."""
    if runs.experiment_id is None or runs.tracker is None:
        return
    lines = [("MLflow", runs.tracker.experiment_url(runs.experiment_id))]
    if runs.tracker.ui_command:
        lines.append(("", f"after: {runs.tracker.ui_command}"))
    _print_lines(lines)


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    for name, text in lines:
        terminal.print(f"{name:8}  {escape(text)}", soft_wrap=True)


def verdict(ledger: "Ledger", *, interrupted: bool, gave_up: bool) -> int:
    """Return the exit code of a launch.

    Args:
        ledger: of the study.
        interrupted: somebody or something asked it to stop.
        gave_up: too many trials failed in a row.
    """
    from tune.records import is_success

    if interrupted:
        return INTERRUPTED
    good = any(map(is_success, ledger.trials()))
    return FAILED if gave_up or (ledger.ended() and not good and not ledger.has_work()) else DONE


def _explain_failures(ledger: "Ledger", study: Study, *, gave_up: bool) -> None:
    from tune.records import failures

    if gave_up:
        terminal.warn(f"stopped: {study.config.failure_budget} trials failed in a row")
    else:
        terminal.warn("every trial failed")
    for reason, count in failures(ledger.trials()).most_common(5):
        terminal.warn(f"  {count} x {reason}")
    terminal.print("once the cause is mended: --retry-failed tries them again")
