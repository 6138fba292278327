"""How a study stands: ``python tune/status.py --study NAME``; reads only, also while the study runs."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from plml.arguments import whole  # noqa: E402
from plml.installed import require_packages  # noqa: E402
from plml.parsers import Parser  # noqa: E402
from plml.user_path import user_path  # noqa: E402
from tune.arguments import address  # noqa: E402
from tune.invocation import usage  # noqa: E402

DONE, WRONG_INPUT = 0, 2

_EPILOG = """\
examples:
  {prog} --study digits                 states, the best trials, failures by reason
  {prog} --study digits --watch         the same every five seconds, while the study runs elsewhere
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        prog=usage("tune/status.py"),
        description="Show how far a study is, its best trials and its failures.",
        epilog=_EPILOG.format(prog=usage("tune/status.py")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="a study begun in OUTPUT_DIR")
    parser.add_argument("--output-dir", default="results", metavar="DIR", help="(default: ./results)")
    parser.add_argument("--storage", type=address, metavar="URL", help="default: the one the study was begun with")
    parser.add_argument("--top", type=whole(1), default=5, metavar="K", help="best trials shown (default: 5)")
    parser.add_argument("--watch", action="store_true", help="show it again every few seconds until Ctrl-C")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status once, or again and again."""
    options = build_parser().parse_args(arguments)
    require_packages()
    from plml.errors import PlmlError

    try:
        while True:
            show(options)
            if not options.watch:
                return DONE
            time.sleep(5)
    except PlmlError as error:
        sys.stderr.write(f"error: {error}\n")
        return WRONG_INPUT
    except KeyboardInterrupt:
        return DONE


def show(options: argparse.Namespace) -> None:
    """Print states, the best trials and the reasons of failures."""
    from collections import Counter

    from rich.markup import escape
    from rich.table import Table

    from plml.errors import ConfigError, nearest
    from plml.schema import read_yaml_file
    from plml.terminal import Terminal
    from tune.folders import StudyFolder
    from tune.records import best_trials, counted_trials, failures, open_study, state_of
    from tune.space import brief

    output = user_path(options.output_dir).absolute()
    folder = StudyFolder(output / options.study)
    if not folder.path.is_dir():
        begun = [path.parent.name for path in output.glob("*/study.yaml")]
        raise ConfigError(f"--study: no study '{options.study}' was begun in {output}{nearest(options.study, begun)}")
    study = open_study(folder, options.storage)
    trials = counted_trials(study)
    states = Counter(map(state_of, trials))
    holder = folder.holder()
    if holder is None:
        # Without a driver nothing runs: what the ledger calls RUNNING was left behind and will go on.
        states["INTERRUPTED"] += states.pop("RUNNING", 0)
    console = Terminal()
    tree = read_yaml_file(folder.study_file)
    console.print(f"[bold]{options.study}[/bold]  {escape(str(tree.get('description', '')))}")
    console.print(f"driver: {escape(holder) if holder else 'none; the study stands still'}")
    names = {"COMPLETE": "done", "RUNNING": "running", "PRUNED": "pruned", "FAILED": "failed", "INTERRUPTED": "waiting"}
    counts = ", ".join(f"{states[state]} {name}" for state, name in names.items() if states[state])
    console.print(f"{len(trials)} of {tree.get('n_trials') or 'all'} trials begun: {counts or 'none'}")
    best = best_trials(study, options.top)
    if best:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("trial", tree["objective"]["metric"], "epochs"):
            table.add_column(column, justify="right")
        table.add_column("configuration", overflow="fold")
        for trial in best:
            values = escape(brief(trial.user_attrs["values"]))
            table.add_row(trial.user_attrs["key"], f"{trial.value:.2f}", str(len(trial.intermediate_values)), values)
        console.print(table)
    for reason, count in failures(trials).most_common():
        console.print(f"[red]{count} x[/red] {escape(reason)}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
