"""Start an ablation grid, continue it, or rebuild its report: ``python ablations/run.py --grid NAME|FILE.yaml``.

Only arguments live here; what runs is imported once they are known, so ``--help`` answers at once.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # The script's own folder comes first on the path and would let its modules hide others of the same name.
    sys.path[0] = str(ROOT)

from plml.arguments import add_voice, whole  # noqa: E402
from plml.parsers import Parser  # noqa: E402
from plml.user_path import user_path  # noqa: E402
from tune.arguments import add_assignments, add_places, add_size, address, exit_code, given, size_options  # noqa: E402
from tune.invocation import usage  # noqa: E402

_EPILOG = """\
examples:
  {prog} --grid digits_boostlu               run a grid, or continue it
  {prog} --grid cole_losses --set data.root=VOCdevkit --set model.weights=mobilenet_v2.safetensors
  {prog} --grid my_grid.yaml --dry-run       cells, runs, and how long they would take
  {prog} --grid digits_boostlu --report      tables and figures again, from what is stored

exit codes: 0 done, 2 wrong input, 3 all runs failed, 4 interrupted (the same command continues),
            5 another process runs this grid
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the grid runner."""
    parser = Parser(
        allow_abbrev=False,  # what must not happen twice is known by its whole name
        prog=usage("ablations/run.py"),
        description="Compare configurations over seeds and label draws: start a grid, or continue it where it stands.",
        epilog=_EPILOG.format(prog=usage("ablations/run.py")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--grid", metavar="NAME|FILE.yaml", help="a grid in ablations/grids, a file, or one begun before")
    what.add_argument("--list", action="store_true", help="list the grids and stop")
    add_assignments(what, "grid")
    what.add_argument("--report", action="store_true", help="rebuild tables and figures from stored runs; no training")
    budget = parser.add_argument_group("budget")
    budget.add_argument(
        "--trials", type=whole(1), metavar="N", help="trials of each cell's search (tune_per_cell.n_trials)"
    )
    budget.add_argument("--time-budget", metavar="TIME", help="stop this launch after 90s, 30m, 8h")
    where = parser.add_argument_group("where")
    add_places(where)
    where.add_argument(
        "--storage", type=address, metavar="URL", help="Optuna storage of the cells' searches (default: journal files)"
    )
    add_size(parser.add_argument_group("resources of a run"))
    other = parser.add_argument_group("before it starts")
    other.add_argument("--download", action="store_true", help="fetch torchvision weights that model.weights names")
    other.add_argument("--dry-run", action="store_true", help="print cells, runs and estimated time; write nothing")
    add_voice(parser.add_argument_group("what is told"))
    return parser


def grid_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return ``{dotted grid key: value}`` of what the command line gives."""
    budget = {"tune_per_cell.n_trials": options.trials, "time_budget": options.time_budget}
    return given({**budget, **size_options(options)})


def _check(options: argparse.Namespace) -> None:
    """Find misspelt keys before training code is imported, which takes longer than everything else."""
    from ablations.grid_file import find_grid, read_grid_file

    output = user_path(options.output_dir).absolute()
    read_grid_file(find_grid(options.grid, output / "ablations"), options.assignments, grid_options(options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one grid; return the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.grid and not options.list:
        parser.error("--grid NAME|FILE.yaml is required (--list shows the names)")
    return exit_code(lambda: _run(options, list(arguments or sys.argv[1:])), "grid", options)


def _run(options: argparse.Namespace, arguments: list[str]) -> int:
    if not options.list:
        _check(options)
    gc.disable()  # imports make a million objects, and none of them goes
    from ablations import launch

    gc.freeze()
    gc.enable()
    return launch.list_grids(options) if options.list else launch.launch(options, arguments)


if __name__ == "__main__":
    sys.exit(main())
