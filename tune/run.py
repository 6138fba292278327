"""Start a study, or continue it: ``python tune/run.py --study NAME|FILE.yaml``.

Only arguments live here; what runs is imported once they are known, so ``--help`` answers at once.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # The script's own folder comes first on the path and would let its modules hide others of the same name.
    sys.path[0] = str(ROOT)

from plml.arguments import add_voice, whole  # noqa: E402
from plml.parsers import Parser  # noqa: E402
from plml.user_path import user_path  # noqa: E402
from tune.arguments import add_assignments, add_places, add_size, address, exit_code, given, size_options  # noqa: E402
from tune.invocation import usage  # noqa: E402

if TYPE_CHECKING:
    from tune.starting import StartingCluster


_EPILOG = """\
examples:
  {prog} --study digits                      start the quick-start study, or continue it
  {prog} --study digits --trials 40          extend it to 40 trials
  {prog} --study voc_single_positive --set data.root=VOCdevkit --set model.weights=resnet50.pth
  {prog} --study my_study.yaml --dry-run     what would run, and how long it would take

exit codes: 0 done, 2 wrong input, 3 all trials failed, 4 interrupted (the same command continues),
            5 another process runs this study
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the study runner."""
    parser = Parser(
        allow_abbrev=False,  # what must not happen twice is known by its whole name
        prog=usage("tune/run.py"),
        description="Search for the best configuration: start a study, or continue it where it stands.",
        epilog=_EPILOG.format(prog=usage("tune/run.py")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--study", metavar="NAME|FILE.yaml", help="a study in tune/studies, a file, or one begun before")
    what.add_argument("--list", action="store_true", help="list the studies and stop")
    add_assignments(what, "study")
    budget = parser.add_argument_group("budget")
    budget.add_argument(
        "--trials", type=whole(1), metavar="N", help="configurations in total; a larger number extends the study"
    )
    budget.add_argument("--time-budget", metavar="TIME", help="stop this launch after 90s, 30m, 8h")
    where = parser.add_argument_group("where")
    add_places(where)
    where.add_argument("--storage", type=address, metavar="URL", help="Optuna storage (default: a journal file)")
    where.add_argument(
        "--run-store",
        type=address,
        metavar="URL",
        help="where machines that share no folder keep runs: s3://..., sftp://",
    )
    after = parser.add_argument_group("the best model")
    after.add_argument("--register", metavar="NAME", help="make it a version of a registered model in MLflow")
    after.add_argument("--alias", metavar="ALIAS", help="such as champion; moves only to what was chosen by more")
    after.add_argument("--force-alias", action="store_true", help="move the alias whatever the figures say")
    add_size(parser.add_argument_group("resources of a trial"))
    other = parser.add_argument_group("before it starts")
    other.add_argument("--download", action="store_true", help="fetch torchvision weights that model.weights names")
    other.add_argument("--dry-run", action="store_true", help="print space, budget and estimated time; write nothing")
    other.add_argument("--smoke", action="store_true", help="2 trials of 1 epoch in a temporary folder")
    other.add_argument("--fresh", action="store_true", help="begin again; the old study moves to OUTPUT_DIR/.trash")
    other.add_argument("--fork", metavar="NEW", help="a new study that knows this one's trials")
    other.add_argument("--retry-failed", action="store_true", help="try failed trials again")
    other.add_argument("--yes", action="store_true", help="do not ask")
    add_voice(parser.add_argument_group("what is told"))
    return parser


def study_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return ``{dotted study key: value}`` of what the command line gives."""
    own = {
        "n_trials": options.trials,
        "time_budget": options.time_budget,
        "track.register": options.register,
        "track.alias": options.alias,
    }
    return given({**own, **size_options(options)})


def _prepare(options: argparse.Namespace) -> "StartingCluster | None":
    """Find misspelt keys before training code is imported, which takes longer than everything else.

    Returns:
        Ray, which starts beside the imports if the study is new, and so has something to train.
    """
    from tune.study_file import find_study, name_of, read_study_file

    output = user_path(options.output_dir).absolute()
    file = find_study(options.study, output)
    config = read_study_file(file, options.assignments, study_options(options))
    if options.dry_run or options.smoke or (output / name_of(file)).exists():
        return None
    from tune.starting import StartingCluster

    return StartingCluster(config.resources, options.address)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one study; return the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.study and not options.list:
        parser.error("--study NAME|FILE.yaml is required (--list shows the names)")
    return exit_code(lambda: _run(options, list(arguments or sys.argv[1:])), "study", options)


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    cluster = None if options.list else _prepare(options)
    try:
        gc.disable()  # imports make a million objects, and none of them goes
        from tune import launch

        gc.freeze()
        gc.enable()
        return launch.list_studies(options) if options.list else launch.launch(options, arguments, cluster)
    finally:
        if cluster is not None:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
