"""Which sampler, pruner and crew size find the most for their compute: searches replayed on recorded real trials.

    python benchmarks/search_efficiency.py --out search_efficiency.json --plot search_efficiency.png

Nothing is trained: ``benchmarks/data`` holds the curves of every trial of a grid (``benchmarks/trial_table.py`` records
them), and the study's own samplers and pruners search it, each many times with other seeds, in the order in which a
study of linear trials does. Compute is epochs of training, all trials together; a second axis is processor time, the
cost of epochs in populations of the size at hand and the sampler's own work.

Each way to search has the compute until its best is within ``--within`` points of the best of the table. A search that
does not get there within its budget of epochs counts with the whole compute of the longest of those compared, so such a
median is a lower bound. It is compared with random search without a pruner: a ratio of
medians with its 95 % bootstrap interval. Where the interval holds 1, nothing was shown. Beside it: how far below the
best of the table the search is at a quarter of the budget, and the test mAP of what it picks; their spreads, and those
of figures without a ratio, are quartiles over repetitions.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, available_cores, show, write  # noqa: E402
from benchmarks.search_replay import Replay, Search, Trace, learnt  # noqa: E402
from benchmarks.trial_table import TrialTable, load_table  # noqa: E402
from tune.study_file import PrunerConfig, SamplerConfig  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATA = ROOT / "benchmarks" / "data"
CREWS = (1, 2, 4, 8, 16, 32)
PRUNERS = ("successive_halving", "hyperband", "median", "patient")
WARM = {"voc2007": "digits", "digits": "voc2007"}  # {searched with and without prior knowledge: learnt from}
PATIENCE = 3  # epochs, of the pruner "patient"
RESAMPLES = 2000
TEACHER_SEED = 1000  # searches that others learn from have seeds of their own


@dataclass(frozen=True)
class Arm:
    """One way to search one table.

    Attributes:
        table: name of the table, without suffix.
        methods: part of the table that is searched; empty: all methods.
        search: how; its sampler's seed is replaced by the repetition's.
        teacher: table whose search the sampler learns from beforehand; empty: a cold start.
        part: which question it belongs to.
    """

    table: str
    search: Search
    methods: tuple[str, ...] = ()
    teacher: str = ""
    part: str = field(default="", compare=False)

    @property
    def where(self) -> str:
        """The space, in words."""
        return f"{self.table.replace('_', ' ')}, {' '.join(self.methods) or 'all methods'}"

    @property
    def how(self) -> str:
        """The search, in words."""
        search = self.search
        pruner = "" if search.pruner.name == "none" else f" + {search.pruner.name}"
        start = "" if search.sampler.n_startup_trials == 10 else f", {search.sampler.n_startup_trials} random first"
        warm = f", warm from {self.teacher.replace('_', ' ')}" if self.teacher else ""
        return f"{search.sampler.name}{pruner}, crew {search.crew}{start}{warm}"


def arm(table: str, sampler: str, pruner: str, crew: int, budget: int, *, startup: int = 10, **options: object) -> Arm:
    """Return an arm by the names of its parts."""
    patience = PATIENCE if pruner == "patient" else None
    search = Search(
        SamplerConfig.model_validate({"name": sampler, "n_startup_trials": startup}),
        PrunerConfig.model_validate({"name": pruner, "patience": patience}),
        crew,
        budget,
    )
    return Arm(table, search, **options)  # type: ignore[arg-type]


def arms(part: str, budget: int) -> Iterator[Arm]:
    """Yield what is compared for one question."""
    short = budget // 2  # where many trials make a sampler slow
    match part:
        case "samplers":
            for table in ("voc2007", "digits"):
                for sampler in ("random", "tpe", "cmaes", "gp"):
                    yield arm(table, sampler, "none", 1, short, part=part)
        case "crews":
            for table in ("voc2007", "digits"):
                for crew in CREWS:
                    yield arm(table, "tpe", "none", crew, budget, part=part)
            yield arm("voc2007", "cmaes", "none", 16, short, part=part)
            for crew in CREWS:  # all members have the same loss, so few populations train them
                yield arm("voc2007", "tpe", "none", crew, short, methods=("epr",), part=part)
        case "pruners":
            for sampler, pruner in ((s, p) for s in ("random", "tpe") for p in PRUNERS):
                for crew in (1, 16):
                    yield arm("voc2007", sampler, pruner, crew, short, part=part)
                yield arm("digits", sampler, pruner, 1, short, part=part)
        case "startup":
            for startup in (5, 20):
                yield arm("voc2007", "tpe", "none", 1, budget, startup=startup, part=part)
        case "warm":
            for table, teacher in WARM.items():
                for learnt_from in ("", teacher):
                    yield arm(table, "tpe", "none", 8, short, teacher=learnt_from, part=part)


PARTS = ("samplers", "crews", "pruners", "startup", "warm")


# -- replaying --------------------------------------------------------------------------------------------

_TABLES: dict[tuple[str, tuple[str, ...]], TrialTable] = {}


def table_of(folder: Path, name: str, methods: tuple[str, ...]) -> TrialTable:
    """Return a table, or its part, read once a process."""
    if (name, methods) not in _TABLES:
        table = load_table(folder / f"{name}.npz")
        _TABLES[name, methods] = table.only(methods) if methods else table
    return _TABLES[name, methods]


def repeat(one: Arm, seed: int, folder: Path) -> Trace:
    """Replay an arm with one seed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = replace(one.search, sampler=one.search.sampler.model_copy(update={"seed": seed}))
    prior = []
    if one.teacher:
        sampler = search.sampler.model_copy(update={"seed": TEACHER_SEED + seed})
        methods = tuple(table_of(folder, one.table, one.methods).grids)
        teacher = Replay(table_of(folder, one.teacher, methods), replace(search, sampler=sampler))
        teacher.run()
        prior = learnt(teacher.study)
    return Replay(table_of(folder, one.table, one.methods), search, prior).run()


def replay_all(wanted: Sequence[Arm], repetitions: int, folder: Path, processes: int) -> dict[Arm, list[Trace]]:
    """Replay every arm with seeds 0, 1, ...; repetitions run side by side."""
    tasks = [(one, seed) for one in wanted for seed in range(repetitions)]
    if processes == 1:
        traces = [repeat(one, seed, folder) for one, seed in tasks]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            ones, seeds = zip(*tasks, strict=True)
            traces = list(pool.map(repeat, ones, seeds, [folder] * len(tasks), chunksize=4))
    found: dict[Arm, list[Trace]] = {one: [] for one in wanted}
    for (one, _), trace in zip(tasks, traces, strict=True):
        found[one].append(trace)
    return found


# -- figures ----------------------------------------------------------------------------------------------


def ratio_of_medians(
    mine: NDArray[np.float64], others: NDArray[np.float64], resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Return median(others) / median(mine), and the 95 % percentile bootstrap interval of it."""
    rng = np.random.default_rng(0)
    drawn = [np.median(rng.choice(values, (resamples, len(values))), axis=1) for values in (mine, others)]
    low, high = np.quantile(drawn[1] / drawn[0], (0.025, 0.975))
    return float(np.median(others) / np.median(mine)), float(low), float(high)


def needed(traces: Sequence[Trace], target: float, axis: str, limit: float) -> NDArray[np.float64]:
    """Return the compute of each search until ``target``; ``limit`` where it took more or did not get there."""
    return np.array([min(trace.needed(target, axis=axis), limit) for trace in traces])


def figures_of(
    one: Arm, traces: Sequence[Trace], base: Sequence[Trace], best: float, within: Sequence[float]
) -> list[Figure]:
    """Return the figures of one arm; ``base``: the searches it is compared with, ``best`` of the table."""
    count, found = len(traces), []
    against = "" if base is traces else "cold start" if one.teacher else "random, no pruner, crew 1"
    axes = {"epochs": "epochs", "processor time": "seconds"} if one.part == "crews" else {"epochs": "epochs"}
    for points, (name, axis) in itertools.product(within, axes.items()):
        limit = max(float(trace.axis(axis)[-1]) for trace in (*traces, *base))
        mine, others = (needed(searches, best - points, axis, limit) for searches in (traces, base))
        low, middle, high = np.quantile(mine, (0.25, 0.5, 0.75)).tolist()
        ratio = None
        if base is not traces:
            ratio, low, high = ratio_of_medians(mine, others)
        what = f"{one.where}: {one.how}, {name} to {points:g} points below the best"
        found.append(Figure(what, middle, "epochs" if axis == "epochs" else "s", against, ratio, low, high, count))
    if one.part not in ("crews", "startup"):
        quarter = one.search.budget // 4
        below = [best - trace.at(quarter) for trace in traces]
        test = [float(trace.test[-1]) for trace in traces]
        ends = {f"below the best after {quarter} epochs": (below, "points"), "test mAP of the pick": (test, "%")}
        for name, (values, unit) in ends.items():
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
            found.append(Figure(f"{one.where}: {one.how}, {name}", middle, unit, "", None, low, high, count))
    return found


def baseline(one: Arm) -> Arm:
    """Return the search that an arm is compared with: random, no pruner; for a warm start the cold one."""
    if one.teacher:
        return replace(one, teacher="")
    return arm(one.table, "random", "none", 1, one.search.budget, methods=one.methods)


# -- the picture ------------------------------------------------------------------------------------------


def draw(found: Mapping[Arm, Sequence[Trace]], bests: Mapping[str, float], file: Path) -> None:
    """Draw anytime curves: distance to the best of the table against compute, medians and quartiles."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    main = [one for one in found if one.table == "voc2007" and not one.methods]
    samplers = [one for one in main if one.part == "samplers" and one.search.crew == 1]
    crews = [one for one in main if (one.part, one.search.sampler.name) == ("crews", "tpe")]
    pruners = [one for one in main if one.part == "pruners" and one.search.crew == 1]
    plain = [one for one in samplers if one.search.sampler.name in ("random", "tpe")]
    pruned = [one for one in pruners if one.search.sampler.name == "random" or "halving" in one.search.pruner.name]
    warm = {table: [one for one in found if (one.part, one.table) == ("warm", table)] for table in WARM}
    panels = [
        ("samplers, one trial at a time", "epochs", samplers),
        ("pruners, one trial at a time", "epochs", plain + pruned if pruned else []),
        ("crews with tpe", "epochs", crews),
        ("crews with tpe, cost of populations", "seconds", crews),
        *((f"warm start: {table.replace('_', ' ')}", "epochs", shown) for table, shown in warm.items()),
    ]
    panels = [panel for panel in panels if panel[2]]
    rows = (len(panels) + 1) // 2
    chart, axes = plt.subplots(rows, 2, figsize=(9.6, 3.2 * rows), layout="constrained", squeeze=False)
    for axis, (title, unit, shown) in zip(axes.flat, panels, strict=False):
        for one in shown:
            _curve(axis, one, found[one], bests[one.where], unit)
        label = "epochs of training" if unit == "epochs" else "processor seconds, training and sampler"
        axis.set(title=title, xlabel=label, ylabel="validation mAP below the best")
        axis.set(ylim=(0, 5))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    file.parent.mkdir(parents=True, exist_ok=True)
    chart.savefig(file, dpi=68)
    plt.close(chart)


def _curve(axis: "Axes", one: Arm, traces: Sequence[Trace], best: float, unit: str) -> None:
    end = one.search.budget if unit == "epochs" else float(np.median([t.axis(unit)[-1] for t in traces]))
    places = np.linspace(0, end, 120)[1:]
    below = np.array([[best - trace.at(place, axis=unit) for place in places] for trace in traces])
    low, middle, high = np.quantile(below, (0.25, 0.5, 0.75), axis=0)  # NaN until every search has reported
    (line,) = axis.plot(places, middle, label=one.how)
    axis.fill_between(places, low, high, alpha=0.12, color=line.get_color())


# -- the command ------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=Path, default=DATA, help="folder of recorded tables")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is compared")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument(
        "--budget",
        type=int,
        default=1280,
        help="epochs of a search, 20 are one whole trial; half of it where crews are not compared",
    )
    parser.add_argument(
        "--within", type=float, nargs="+", default=[0.5, 1.5], help="points of mAP below the best of the table"
    )
    parser.add_argument("--processes", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw anytime curves; needs all parts")
    parser.add_argument("--quick", action="store_true", help="samplers random and tpe, two repetitions, a short budget")
    options = parser.parse_args()
    if options.quick:
        options.parts, options.repetitions, options.budget, options.processes = ["crews"], 2, 200, 1
    return options


def main() -> None:
    """Replay, print, write, draw."""
    options = parse()
    began = time.perf_counter()
    found: dict[Arm, list[Trace]] = {}
    figures: list[Figure] = []
    bests: dict[str, float] = {}
    for part in options.parts:
        wanted = list(arms(part, options.budget))
        needs = [*wanted, *(baseline(one) for one in wanted)]
        fresh = [one for one in dict.fromkeys(needs) if one not in found]
        found |= replay_all(fresh, options.repetitions, options.tables, options.processes)
        for one in wanted:
            best = float(table_of(options.tables, one.table, one.methods).curves[one.search.objective].max())
            bests[one.where] = best
            figures += figures_of(one, found[one], found[baseline(one)], best, options.within)
        write(figures, options.out)  # what is replayed stays if somebody loses patience
    show(f"search efficiency, {time.perf_counter() - began:.0f} s", figures)
    if options.plot:
        draw(found, bests, options.plot)


if __name__ == "__main__":
    main()
