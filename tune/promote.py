"""Train a study's best configurations anew on other seeds and label draws: ``python tune/promote.py --study NAME``."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from tune.arguments import add_places, add_size, exit_code, given, size_options  # noqa: E402

if TYPE_CHECKING:
    from rich.table import Table

    from tune.promotion import Row

DONE, FAILED, INTERRUPTED = 0, 3, 4


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,  # what must not happen twice is known by its whole name
        prog="python tune/promote.py",
        description="Retrain the best configurations of a study on new seeds and label draws, and score test once.",
        epilog="The same command goes on where it was interrupted; finished runs are never trained again.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="a study begun in OUTPUT_DIR")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="configurations (default: 3)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings of each (default: 5)")
    add_places(parser)
    add_size(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the promotion; return the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.top < 1 or options.seeds < 1:
        parser.error("--top and --seeds must be at least 1")
    return exit_code(lambda: promote(options), "promotion")


def promote(options: argparse.Namespace) -> int:
    """Train what is missing, then print and write the table."""
    from plml.checkpoint import write_text
    from plml.errors import ConfigError
    from plml.tracking import check_uri
    from tune.folders import StudyFolder
    from tune.promotion import PromotionRuns, figures_of, in_turn, promoted, summarise
    from tune.records import best_trials, open_study
    from tune.study import load_study
    from tune.terminal import make_console

    console = make_console()
    output = Path(options.output_dir).expanduser().absolute()
    uri = check_uri(options.tracking_uri or f"sqlite:///{output}/mlflow.db")
    folder = StudyFolder(output / options.study)
    ledger = open_study(folder)
    study = load_study(folder.study_file, options=given(size_options(options)))
    best = best_trials(ledger, options.top)
    if not best:
        raise ConfigError(f"study '{study.name}' has no complete trial yet; there is nothing to promote")
    chosen = promoted(study, folder, best, options.seeds)
    runs = in_turn(chosen)
    console.print(f"promoting {len(best)} configurations of {study.name}, {options.seeds} runs each", soft_wrap=True)
    with folder.hold():
        missing = [run for run in runs if figures_of(run) is None]
        tracked = PromotionRuns(
            uri, study, ledger.user_attrs["uid"], lambda text: console.print(text, style="yellow", markup=False)
        )
        interrupted = False
        if missing:
            from tune.crew_size import most_in_crew
            from tune.driving import drive
            from tune.execution import ray_cluster
            from tune.launch import say_why, warn
            from tune.orders import order_book
            from tune.progress import StudyProgress
            from tune.run_queue import RunQueue
            from tune.stopping import Stopper

            stopper = Stopper(warn)
            tracked.begin(missing[0])  # the database is made before workers touch it
            with ray_cluster(study.config.resources, options.address) as plan, stopper.watch():
                console.print(f"training {len(missing)} of {len(runs)} runs, {plan.describe()}", soft_wrap=True)
                progress = StudyProgress(
                    console,
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
        console.print(as_table(rows))
        console.print(f"table: {folder.path / 'promotion.csv'}", soft_wrap=True)
    done = sum(figures_of(run) is not None for run in runs)
    if done == len(runs):
        return DONE
    if interrupted:
        console.print(f"interrupted after {done} of {len(runs)} runs; the same command goes on", style="yellow")
        return INTERRUPTED
    console.print(f"{len(runs) - done} of {len(runs)} runs failed; the same command tries them again", style="red")
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
