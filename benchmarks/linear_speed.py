"""Epochs a second of linear training: plml's population against the classic loop, and against its floor.

    python benchmarks/linear_speed.py --out linear_speed.json --plot linear_speed.png

Random features, N = 5,000, D = 2,048, L = 20, Adam, method AN; 1,143 validation and 5,823 test examples, as many as VOC
2012 has. The rate is that of one configuration: K members that take t seconds for E epochs count K E / t. A
population is timed whole, from the first step to the finished run folders, its validation figures after every epoch
and its test figures at the end included. The classic loop (:mod:`benchmarks.classic_loop`) is timed for whole
epochs, in turns with it. One thread each; ``two at once`` is the sum over two processes that run side by side;
``by processor time`` counts the seconds that all processes of a candidate had a core, so its ratio is that of whole
machines.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_loop import ClassicRun, linear_run, random_features  # noqa: E402
from benchmarks.floors import (  # noqa: E402
    Rates,
    linear_epochs_per_second,
    linear_step,
    square_product_rate,
    triad_rate,
)
from benchmarks.measuring import Clock, Figure, alone, compared, show, take_turns, write  # noqa: E402
from plml.config import make_config  # noqa: E402
from plml.data.bundle import Bundle, Split  # noqa: E402
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN  # noqa: E402
from plml.population import Population  # noqa: E402
from plml.trainer import Trainer  # noqa: E402

SIZES = {"train": 5000, "val": 1143, "test": 5823}
QUICK_SIZES = {"train": 800, "val": 200, "test": 800}
DIM, CLASSES = 2048, 20
Data = dict[str, tuple[NDArray[np.float32], ...]]


def make_bundle(data: Data) -> Bundle:
    """Return the features as what plml trains on, with one observed positive an example."""
    splits = {}
    for name, (features, truth, observed) in data.items():
        splits[name] = Split(
            ids=[f"{name}{row}" for row in range(len(features))],
            rows=np.arange(len(features)),
            array=features,
            truth=torch.from_numpy(np.where(truth == 1, POSITIVE, NEGATIVE).astype(np.int8)),
            observed=torch.from_numpy(np.where(observed == 1, POSITIVE, UNKNOWN).astype(np.int8)),
        )
    names = tuple(f"class {number}" for number in range(CLASSES))
    return Bundle(
        "random features", names, splits["train"], splits["val"], splits["test"],
        expected_positives=1.5, flip=False, digest="random features",
    )  # fmt: skip


def trainers(
    bundle: Bundle, folder: Path, population: int, *, batch: int, epochs: int, device: str, seeds: int
) -> list[Trainer]:
    """Return ``population`` runs that differ in learning rate, and in seed where ``seeds`` is larger than 1."""
    rates = np.geomspace(1e-4, 1e-2, population)
    runs = []
    for place, rate in enumerate(rates):
        tree: dict[str, Any] = {
            "mode": "linear",
            "epochs": epochs,
            "seed": place % seeds,
            "device": device,
            "data": {"name": "features", "observation": "single_positive"},
            "method": "an",
            "optim": {"lr": float(rate), "batch_size": batch},
            "selection": {"labels": "clean"},
        }
        runs.append(Trainer(make_config(tree), bundle, folder / str(place)))
    return runs


def population_rate(
    bundle: Bundle,
    scratch: Path,
    population: int,
    *,
    batch: int,
    epochs: int,
    device: str,
    seeds: int = 1,
    clock: Clock | None = None,
) -> float:
    """Train a population to its end and return epochs/s of a configuration."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    runs = trainers(bundle, folder, population, batch=batch, epochs=epochs, device=device, seeds=seeds)

    def train() -> None:
        for _ in Population(runs).epochs():
            pass
        if device != "cpu":
            torch.cuda.synchronize()

    spent = (clock or Clock()).seconds(train)
    shutil.rmtree(folder)
    return population * epochs / spent


def classic_rate(run: ClassicRun, epochs: int, clock: Clock | None = None) -> float:
    """Return epochs/s of the classic loop."""
    return epochs / (clock or Clock()).seconds(lambda: [run.epoch() for _ in range(epochs)])


def floor_rate(batch: int, population: int, examples: int, device: str) -> float:
    """Return epochs/s of a configuration at the floor, by rates measured now."""
    need = linear_step(batch, DIM, CLASSES, population)
    rates = Rates(
        max(square_product_rate(device, at_least=0.1) for _ in range(3)),
        max(triad_rate(need.working_set, device, at_least=0.1) for _ in range(3)),
    )
    return linear_epochs_per_second(need, rates, examples=examples, batch=batch, population=population)


def side_by_side(arguments: Sequence[str], processes: int) -> float:
    """Run this script's ``--one`` in several processes at once and return the sum of their rates.

    Each warms up, says so, and waits for a line on its standard input, so that they are timed over the same seconds.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(processes)
    ]
    pipes = [(process.stdin, process.stdout) for process in started]
    for _, told in pipes:
        assert told is not None
        if told.readline().strip() != "ready":
            raise SystemExit("a process of --one ended before it was ready")
    for asked, _ in pipes:
        assert asked is not None
        asked.write("go\n")
        asked.flush()
    rates = [float(told.readline()) for _, told in pipes if told is not None]
    for process in started:
        process.communicate()
    return sum(rates)


def run_one(options: argparse.Namespace, scratch: Path) -> None:
    """Be one of several processes: warm up, wait for the others, tell the rate."""
    data = random_features(QUICK_SIZES if options.quick else SIZES, DIM, CLASSES)
    kind, batch, size = options.one
    measure: Callable[[int], float]
    if kind == "classic":
        run = linear_run(data, batch_size=int(batch), workers=int(size), device=options.device)
        measure = lambda epochs: classic_rate(run, max(1, epochs // 5))  # noqa: E731
    else:
        bundle = make_bundle(data)
        measure = lambda epochs: population_rate(  # noqa: E731
            bundle, scratch, int(size), batch=int(batch), epochs=epochs, device=options.device
        )
    measure(1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{measure(options.epochs)}\n")


def against_loop(batch: int, data: Data, options: argparse.Namespace, scratch: Path) -> list[Figure]:
    """Return a population against the classic loop and the floor, in turns."""
    bundle, device, examples = make_bundle(data), options.device, len(data["train"][0])
    population = options.population

    @lru_cache
    def classic(workers: int) -> ClassicRun:
        return linear_run(data, batch_size=batch, workers=workers, device=device)

    def of_population(seeds: int) -> float:
        return population_rate(
            bundle,
            scratch,
            population,
            batch=batch,
            epochs=options.epochs,
            device=device,
            seeds=seeds,
            clock=clocks[ours if seeds == 1 else own],
        )

    ours, four, none = f"population K={population}", "classic loop, 4 workers", "classic loop, 0 workers"
    own = f"{ours}, every member its own batches"
    clocks = {name: Clock() for name in (ours, own, four, none)}
    loop_epochs = 1 if options.quick else 2
    rates = take_turns(
        {
            ours: lambda: of_population(1),
            own: lambda: of_population(population),
            four: lambda: classic_rate(classic(4), 1, clocks[four]),
            none: lambda: classic_rate(classic(0), loop_epochs, clocks[none]),
            "floor": lambda: floor_rate(batch, population, examples, device),
        },
        rounds=options.rounds,
    )
    name = f"linear, batch {batch}, "
    others = [(ours, four), (ours, none), (ours, "floor"), (own, none)]
    figures = [
        compared(name + mine, "epochs/s", rates[mine], other, rates[other], smaller_is_better=False)
        for mine, other in others
    ]
    # Processor time: the warm-up round is left out here too.
    done = {ours: population * options.epochs, own: population * options.epochs, four: 1, none: loop_epochs}
    used = {each: [done[each] / spent for spent in clocks[each].processor[1:]] for each in done}
    figures += [
        compared(
            f"{name}{ours}, by processor time", "epochs/s", used[ours], other, used[other], smaller_is_better=False
        )
        for other in (four, none)
    ]
    return [*figures, *(alone(name + other, "epochs/s", rates[other]) for other in (four, none, "floor"))]


def over_sizes(batch: int, data: Data, options: argparse.Namespace, scratch: Path) -> list[Figure]:
    """Return the rate of populations of several sizes, in turns."""
    bundle = make_bundle(data)

    def of_population(population: int) -> Callable[[], float]:
        return lambda: population_rate(
            bundle, scratch, population, batch=batch, epochs=options.epochs, device=options.device
        )

    rates = take_turns({str(k): of_population(k) for k in options.sizes}, rounds=options.rounds, warmup=0)
    return [alone(f"linear, batch {batch}, K={k} alone", "epochs/s", values) for k, values in rates.items()]


def both_cores(batch: int, _data: Data, options: argparse.Namespace, _scratch: Path) -> list[Figure]:
    """Return the throughput of two processes, as in a study on two cores, against a loop that uses both as well."""
    population = options.population
    tail = ["--device", options.device, "--epochs", str(options.epochs)]
    rates = take_turns(
        {
            "ours": lambda: side_by_side(["--one", "population", str(batch), str(population), *tail], 2),
            "classic": lambda: side_by_side(["--one", "classic", str(batch), "4", *tail], 1),
        },
        rounds=options.rounds,
        warmup=0,
    )
    what, against = f"linear, batch {batch}, population K={population}, two at once", "classic loop, 4 workers"
    return [compared(what, "epochs/s", rates["ours"], against, rates["classic"], smaller_is_better=False)]


PARTS = {"loop": against_loop, "sizes": over_sizes, "cores": both_cores}


def draw(figures: Sequence[Figure], file: Path) -> None:
    """Draw epochs/s of a configuration over K, with classic loop and floor as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    batches = sorted({int(figure.what.split(",")[1].split()[1]) for figure in figures})
    chart, axes = plt.subplots(1, len(batches), figsize=(4.6 * len(batches), 3.4), layout="constrained", squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        name = f"linear, batch {batch}, "
        rows = {figure.what.removeprefix(name): figure for figure in figures if figure.what.startswith(name)}
        curve = {int(k.split("=")[1].split()[0]): f for k, f in rows.items() if k.endswith(" alone")}
        sizes = sorted(curve)
        axis.fill_between(sizes, [curve[k].low for k in sizes], [curve[k].high for k in sizes], alpha=0.2)
        axis.plot(sizes, [curve[k].value for k in sizes], marker="o", label="population")
        for label, style in (("floor", ":"), ("classic loop, 0 workers", "--"), ("classic loop, 4 workers", "-.")):
            axis.axhline(rows[label].value, linestyle=style, color="0.35", label=label)
        axis.set(xscale="log", yscale="log", title=f"batch {batch}", xlabel="K", ylabel="epochs/s a configuration")
        axis.set_xticks(sizes, [str(k) for k in sizes])
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    chart.savefig(file, dpi=110)
    plt.close(chart)


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--population", type=int, help="K that is compared; default: 16, on a GPU 256")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64], help="K of the plot")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what is measured")
    parser.add_argument("--epochs", type=int, default=10, help="of a population; its test scores come once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw epochs/s over K")
    parser.add_argument("--quick", action="store_true", help="a sixth of the data, one round, batch 32")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "BATCH", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.population = options.population or (256 if options.device.startswith("cuda") else 16)
    if options.quick:
        options.batch_sizes, options.rounds, options.epochs = [32], 1, 3
        options.parts = ["loop"]
    if options.device != "cpu":
        options.parts = [part for part in options.parts if part != "cores"]
    return options


def main() -> None:
    """Measure, print, write."""
    options = parse()
    torch.set_num_threads(1)
    # On fewer than four cores torch advises against four workers; the scripts have four all the same.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.one:
            run_one(options, scratch)
            return
        data = random_features(QUICK_SIZES if options.quick else SIZES, DIM, CLASSES)
        began = time.perf_counter()
        figures: list[Figure] = []
        for part in options.parts:
            for batch in options.batch_sizes:
                figures += PARTS[part](batch, data, options, scratch)
                write(figures, options.out)  # what is measured stays if somebody loses patience
    show(f"linear training, {time.perf_counter() - began:.0f} s", figures)
    if options.plot and {"loop", "sizes"} <= set(options.parts):
        draw(figures, options.plot)


if __name__ == "__main__":
    main()
