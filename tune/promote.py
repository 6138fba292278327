"""Train a study's best configurations anew on other seeds and label draws: ``python tune/promote.py --study NAME``."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from plml.arguments import add_voice, whole  # noqa: E402
from plml.parsers import Parser  # noqa: E402
from plml.user_path import user_path  # noqa: E402
from tune.arguments import add_places, add_size, exit_code, given, size_options  # noqa: E402
from tune.invocation import usage  # noqa: E402

if TYPE_CHECKING:
    from rich.table import Table

    from tune.promotion import Row

DONE, FAILED, INTERRUPTED = 0, 3, 4

_EPILOG = """\
examples:
  {prog} --study digits                         the three best configurations, five trainings each
  {prog} --study digits --top 1 --seeds 10      the best one, ten times
  {prog} --study digits --gpus-per-trial 0.5    two trainings a GPU

The same command goes on where it was interrupted; finished runs are never trained again.

exit codes: 0 done, 2 wrong input, 3 all runs failed, 4 interrupted (the same command continues),
            5 another process runs this study
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        allow_abbrev=False,  # what must not happen twice is known by its whole name
        prog=usage("tune/promote.py"),
        description="Retrain the best configurations of a study on new seeds and label draws, and score test once.",
        epilog=_EPILOG.format(prog=usage("tune/promote.py")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="a study begun in OUTPUT_DIR")
    parser.add_argument("--top", type=whole(1), default=3, metavar="K", help="configurations (default: 3)")
    parser.add_argument("--seeds", type=whole(1), default=5, metavar="N", help="trainings of each (default: 5)")
    add_places(parser)
    add_size(parser)
    add_voice(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the promotion; return the exit code."""
    options = build_parser().parse_args(arguments)
    return exit_code(lambda: promote(options), "promotion", options)


def promote(options: argparse.Namespace) -> int:
    """Train what is missing, then print and write the table."""
    from plml.checkpoint import write_text
    from plml.errors import ConfigError
    from plml.terminal import terminal
    from plml.tracking import check_uri
    from tune.folders import StudyFolder
    from tune.promotion import PromotionRuns, figures_of, in_turn, promoted, summarise
    from tune.records import best_trials, open_study
    from tune.study import load_study

    output = user_path(options.output_dir).absolute()
    uri = check_uri(options.tracking_uri or f"sqlite:///{output}/mlflow.db")
    folder = StudyFolder(output / options.study)
    ledger = open_study(folder)
    study = load_study(folder.study_file, options=given(size_options(options)))
    best = best_trials(ledger, options.top)
    if not best:
        raise ConfigError(f"study '{study.name}' has no complete trial yet; there is nothing to promote")
    chosen = promoted(study, folder, best, options.seeds)
    runs = in_turn(chosen)
    terminal.print(f"promoting {len(best)} configurations of {study.name}, {options.seeds} runs each", soft_wrap=True)
    terminal.event(
        "start",
        command="promotion",
        name=study.name,
        folder=folder.path,
        trials=[each.key for each in chosen],
        runs=len(runs),
        done=sum(figures_of(run) is not None for run in runs),
    )
    with folder.hold():
        missing = [run for run in runs if figures_of(run) is None]
        tracked = PromotionRuns(uri, study, ledger.user_attrs["uid"], terminal.warn)
        interrupted = False
        if missing:
            from tune.crew_size import most_in_crew
            from tune.driving import drive
            from tune.execution import ray_cluster
            from tune.launch import say_why
            from tune.orders import order_book
            from tune.progress import StudyProgress
            from tune.run_queue import RunQueue
            from tune.stopping import Stopper

            stopper = Stopper(terminal.warn)
            tracked.begin(missing[0])  # the database is made before workers touch it
            with ray_cluster(study.config.resources, options.address) as plan, stopper.watch():
                terminal.print(f"training {len(missing)} of {len(runs)} runs, {plan.describe()}", soft_wrap=True)
                progress = StudyProgress(
                    terminal,
                    metric="selection/best",
                    mode="max",
                    total=len(missing),
                    concurrent=plan.concurrent,
                    epochs=study.base.total_epochs,
                )
                orders = order_book(folder.path / ".orders", shared=plan.own)
                queue = RunQueue(
                    missing,
                    progress,
                    tracked,
                    gpu=plan.gpu,
                    stopper=stopper,
                    crew=most_in_crew(study.config.resources, gpu=plan.gpu),
                    orders=orders,
                    concurrent=plan.concurrent,
                )
                interrupted = drive(queue, plan, folder.path, stopper, progress, orders)
            say_why(stopper, None)
        tracked.effort.try_again()
        for run in runs:
            if figures_of(run) is not None:
                tracked.deliver(run)
        rows = summarise(chosen)
        write_text(folder.path / "promotion.csv", as_csv(rows))
    if rows:
        terminal.print(as_table(rows))
        terminal.result(f"table: {folder.path / 'promotion.csv'}", soft_wrap=True)
        told = [{**asdict(row), "trial": row.key} for row in rows]
        terminal.event("result", study=study.name, table=folder.path / "promotion.csv", rows=told)
    done = sum(figures_of(run) is not None for run in runs)
    if done == len(runs):
        return DONE
    if interrupted:
        terminal.event("unfinished", reason="interrupted", ended=done, trials=len(runs))
        terminal.result(f"interrupted after {done} of {len(runs)} runs; the same command goes on", style="yellow")
        return INTERRUPTED
    terminal.warn(f"{len(runs) - done} of {len(runs)} runs failed; the same command tries them again")
    return FAILED if done == 0 else DONE


def as_table(rows: "Sequence[Row]") -> "Table":
    """Return the table of a promotion: mean and sample standard deviation over runs."""
    from rich.markup import escape
    from rich.table import Table

    from tune.space import brief

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rank", "trial", "method", "runs"):
        table.add_column(column)
    for column in ("test mAP", "val mAP", "selection", "in the search"):
        table.add_column(column, justify="right")
    table.add_column("configuration", overflow="fold")
    for row in sorted(rows, key=lambda row: -row.means["test/mAP"]):
        figures = [_pair(row.means[name], row.deviations[name]) for name in row.means]
        values = brief({path: value for path, value in row.values.items() if path != "method.name"})
        table.add_row(
            str(row.rank), row.key, row.method, str(row.runs), *figures, f"{row.searched:.2f}", escape(values)
        )
    return table


def _pair(mean: float, deviation: float | None) -> str:
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def as_csv(rows: "Sequence[Row]") -> str:
    """Return the table as CSV, at full precision."""
    paths = sorted({path for row in rows for path in row.values})
    names = list(rows[0].means) if rows else []
    head = ["rank", "key", "method", "runs", "searched"]
    head += [f"{name} {part}" for name in names for part in ("mean", "std")] + paths
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        figures = [figure for name in names for figure in (row.means[name], row.deviations[name])]
        writer.writerow(
            [row.rank, row.key, row.method, row.runs, row.searched, *figures, *(row.values.get(path) for path in paths)]
        )
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
