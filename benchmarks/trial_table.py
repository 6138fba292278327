"""Record every trial of a grid once, so that searches over that grid can be replayed without training.

    python benchmarks/trial_table.py voc2007 --data-root VOCdevkit --weights mobilenet_v2.safetensors --out voc2007.npz
    python benchmarks/trial_table.py digits --out digits.npz

A table holds the curves of real trainings of a linear head on frozen features, one positive label an image: three
methods, 8 learning rates x 3 batch sizes x the method's own hyperparameters, 20 epochs, trained by plml's populations.
Each cell has its validation mAP on clean and on observed labels and its test mAP after every epoch. A search whose
ranges are the table's values finds for each suggestion exactly what training it would have given.

The table also has what an epoch costs as a function of how many trials are trained at once, in processor time, which a
busy machine disturbs less than wall time. ``benchmarks/data`` holds the tables that
``benchmarks/search_efficiency.py`` replays: figures only, no photos.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import machine  # noqa: E402
from plml.config import TrainConfig, make_config  # noqa: E402
from plml.data.bundle import Bundle  # noqa: E402
from plml.data.load import load_bundle  # noqa: E402
from plml.errors import DataError  # noqa: E402
from plml.metrics import mean_average_precision  # noqa: E402
from plml.population import Ended, Population  # noqa: E402
from plml.trainer import Trainer  # noqa: E402

RATES = tuple(float(f"{rate:.3g}") for rate in np.logspace(-5, -1.5, 8))
BATCHES = (8, 16, 32)
REGULARIZER = tuple(float(f"{weight:.3g}") for weight in np.logspace(-2, 2, 7))
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "epr": {"regularizer_weight": REGULARIZER},
    "tuned_wan": {"negative_weight": tuple(float(f"{weight:.3g}") for weight in np.logspace(-3, 0, 7))},
    "ll_r": {"delta_rel": (0.1, 0.18, 0.26, 0.34, 0.42, 0.5)},
}
PHOTOS = {"name": "voc2007", "image_size": 224, "observation": "single_positive"}
SCENES = {"name": "digits", "observation": "single_positive"}
TASKS: dict[str, dict[str, Any]] = {
    "voc2007": {"data": {**PHOTOS, "observation_seed": 7}, "model": {"backbone": "mobilenet_v2"}, "seed": 1},
    "digits": {"data": SCENES},
}
EPOCHS = 20
TOGETHER = 24  # members of a recorded population
SIZES = (1, 2, 4, 8, 16, 32)  # of populations whose cost is measured
CURVES = ("clean", "observed", "test")
RESOLUTION = 0.01  # points of mAP that a table tells apart

Cell = tuple[Any, ...]  # method, place of the learning rate, batch size, place of each hyperparameter


@dataclass(frozen=True)
class TrialTable:
    """Curves of all cells of a grid.

    Attributes:
        grids: ``{method: {hyperparameter: its values}}``.
        rates: learning rates.
        batches: batch sizes.
        curves: ``{clean, observed, test: mAP in percent after each epoch, (T, E)}``, cells in the order of
            :attr:`cells`.
        sizes: population sizes whose cost is known.
        cost: processor seconds of an epoch of a whole population, (methods, batch sizes, population sizes).
        about: where the table comes from.
    """

    grids: Mapping[str, Mapping[str, Sequence[float]]]
    rates: Sequence[float]
    batches: Sequence[int]
    curves: Mapping[str, NDArray[np.float64]]
    sizes: Sequence[int]
    cost: NDArray[np.float64]
    about: Mapping[str, Any]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, in order."""
        return list(cells_of(self.grids, len(self.rates), self.batches))

    @cached_property
    def rows(self) -> dict[Cell, int]:
        """The row of each cell."""
        return {cell: row for row, cell in enumerate(self.cells)}

    @property
    def epochs(self) -> int:
        """Epochs of every trial."""
        return int(self.curves["clean"].shape[1])

    def seconds(self, method: str, batch: int, members: int) -> float:
        """Return processor seconds of one epoch of ``members`` trials of one method and batch size, interpolated."""
        known = self.cost[list(self.grids).index(method), list(self.batches).index(batch)]
        if members > self.sizes[-1]:
            return float(known[-1] * members / self.sizes[-1])
        return float(np.interp(members, self.sizes, known))

    def only(self, methods: Sequence[str]) -> "TrialTable":
        """Return the part of the table that belongs to ``methods``."""
        kept = [row for row, cell in enumerate(self.cells) if cell[0] in methods]
        places = [place for place, method in enumerate(self.grids) if method in methods]
        return TrialTable(
            {method: grid for method, grid in self.grids.items() if method in methods},
            self.rates,
            self.batches,
            {name: curve[kept] for name, curve in self.curves.items()},
            self.sizes,
            self.cost[places],
            self.about,
        )


def cells_of(grids: Mapping[str, Mapping[str, Sequence[float]]], rates: int, batches: Sequence[int]) -> Iterator[Cell]:
    """Yield every cell of a grid."""
    for method, grid in grids.items():
        places = [range(len(values)) for values in grid.values()]
        for rate, batch in itertools.product(range(rates), batches):
            for chosen in itertools.product(*places):
                yield (method, rate, batch, *chosen)


def save_table(table: TrialTable, file: Path) -> None:
    """Write a table; curves as differences from epoch to epoch in whole hundredths, which compress well."""
    whole = {name: np.round(curve / RESOLUTION).astype(np.int16) for name, curve in table.curves.items()}
    steps = {name: np.diff(curve, axis=1, prepend=np.int16(0)) for name, curve in whole.items()}
    facts = {
        "grids": table.grids,
        "rates": table.rates,
        "batches": table.batches,
        "sizes": table.sizes,
        "about": table.about,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    # Low and high bytes apart: most high bytes are the same.
    parts = {f"{name}_{part}": _bytes(curve)[place] for name, curve in steps.items() for place, part in _PARTS}
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts)), "cost": table.cost.astype(np.float32), **parts}
    np.savez_compressed(file, **arrays)


_PARTS = ((0, "low"), (1, "high"))


def _bytes(curve: NDArray[np.int16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Low and high bytes (E, T) of curves (T, E)."""
    unsigned = np.ascontiguousarray(curve.T).view(np.uint16)
    return (unsigned & 255).astype(np.uint8), (unsigned >> 8).astype(np.uint8)


def load_table(file: Path) -> TrialTable:
    """Read a table that :func:`save_table` wrote.

    Raises:
        DataError: the file is missing or is no table.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            facts = json.loads(str(kept["facts"]))
            curves = {}
            for name in CURVES:
                steps = (kept[f"{name}_low"].astype(np.uint16) | kept[f"{name}_high"].astype(np.uint16) << 8).T
                curves[name] = np.cumsum(steps.view(np.int16), axis=1) * RESOLUTION
            return TrialTable(curves=curves, cost=kept["cost"].astype(np.float64), **facts)
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{file} is not a table of trials: {error}") from error


# -- recording --------------------------------------------------------------------------------------------


def config_of(tree: Mapping[str, Any], cell: Cell, rates: Sequence[float], grids: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration of a cell."""
    method, rate, batch, *places = cell
    own = {name: values[place] for (name, values), place in zip(grids[method].items(), places, strict=True)}
    changes = {"method": {"name": method, **own}, "optim": {"lr": rates[rate], "batch_size": batch}}
    return make_config({**tree, **changes})


def record(bundle: Bundle, configs: Sequence[TrainConfig], scratch: Path) -> NDArray[np.float64]:
    """Train configurations of one kind together; return their curves, (curves, runs, epochs), percent.

    Raises:
        DataError: a run did not come to its end.
    """
    epochs = configs[0].epochs
    curves = np.full((len(CURVES), len(configs), epochs), np.nan)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        trainers = [Trainer(config, bundle, Path(folder) / str(place)) for place, config in enumerate(configs)]
        places = {id(trainer): place for place, trainer in enumerate(trainers)}
        truth = bundle.test.truth
        for results in Population(trainers).epochs():
            reports = []
            for result in results:
                if isinstance(result, Ended):
                    raise DataError(f"{result.trainer.config.tree()}: {result.error}")
                reports.append(result)
            logits = torch.stack([trainer.scores(bundle.test) for trainer, _ in reports])
            of_test = mean_average_precision(logits, truth.to(logits.device)).tolist()
            for (trainer, report), test in zip(reports, of_test, strict=True):
                found = (report.metrics["val/mAP"], report.metrics["val_observed/mAP"], test)
                curves[:, places[id(trainer)], report.epoch] = found
    return curves


def epoch_cost(bundle: Bundle, configs: Sequence[TrainConfig], scratch: Path, *, epochs: int = 3) -> float:
    """Return processor seconds of one epoch of all ``configs`` together: the median over epochs, the first left out."""
    spent = []
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        longer = [config.model_copy(update={"epochs": epochs + 2}) for config in configs]
        population = Population([Trainer(c, bundle, Path(folder) / str(place)) for place, c in enumerate(longer)])
        for _ in range(epochs + 1):  # the last epoch, in which results are written, is not reached
            began = time.thread_time()
            population.epoch()
            spent.append(time.thread_time() - began)
    return statistics.median(spent[1:])


def record_table(
    task: str,
    tree: Mapping[str, Any],
    grids: Mapping[str, Any],
    rates: Sequence[float],
    epochs: int,
    sizes: Sequence[int],
    console: Console,
) -> TrialTable:
    """Train every cell of a grid."""
    tree = {
        "mode": "linear",
        "epochs": epochs,
        "device": "cpu",
        "selection": {"labels": "clean"},
        "method": "an",
        **tree,
    }
    bundle = load_bundle(make_config(tree))
    cells = list(cells_of(grids, len(rates), BATCHES))
    curves = np.empty((len(CURVES), len(cells), epochs))
    cost = np.empty((len(grids), len(BATCHES), len(sizes)))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for (of_method, method), (of_batch, batch) in itertools.product(enumerate(grids), enumerate(BATCHES)):
            began = time.monotonic()
            rows = [row for row, cell in enumerate(cells) if (cell[0], cell[2]) == (method, batch)]
            configs = [config_of(tree, cells[row], rates, grids) for row in rows]
            for low in range(0, len(rows), TOGETHER):
                chosen = slice(low, low + TOGETHER)
                curves[:, rows[chosen]] = record(bundle, configs[chosen], scratch)
            for place, size in enumerate(sizes):
                cost[of_method, of_batch, place] = epoch_cost(bundle, (configs * size)[:size], scratch)
            console.print(f"{method}, batch {batch}: {len(rows)} trials, {time.monotonic() - began:.0f} s")
    about = {
        "task": task,
        "data": {key: value for key, value in tree["data"].items() if key != "root"},
        "seed": tree.get("seed", 0),
        "splits": {name: len(getattr(bundle, name)) for name in ("train", "val", "test")},
        "features": int(bundle.train.array.shape[1]),
        "classes": len(bundle.class_names),
        "digest": bundle.digest,
        "machine": machine(),
    }
    return TrialTable(grids, rates, BATCHES, dict(zip(CURVES, curves, strict=True)), sizes, cost, about)


def main() -> None:
    """Record a table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data-root", type=Path, help="folder that holds VOCdevkit")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of MobileNetV2")
    parser.add_argument("--out", type=Path, required=True, help="the table, .npz")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of populations whose cost is measured")
    parser.add_argument("--quick", action="store_true", help="two epochs, two rates, one method")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tree = {key: dict(value) if isinstance(value, Mapping) else value for key, value in TASKS[options.task].items()}
    if tree["data"]["name"] == "voc2007":
        if options.data_root is None or options.weights is None:
            parser.error(f"{options.task} needs --data-root and --weights")
        tree["data"]["root"] = str(options.data_root.absolute())
        tree["model"]["weights"] = str(options.weights.absolute())
    methods, rates, epochs = tuple(GRIDS), RATES, EPOCHS
    if options.quick:
        methods, rates, epochs = ("tuned_wan",), RATES[3:5], 2
    grids = {method: GRIDS[method] for method in methods}
    console = Console(highlight=False)
    table = record_table(options.task, tree, grids, rates, epochs, options.sizes, console)
    save_table(table, options.out)
    best = {name: float(curve.max()) for name, curve in table.curves.items()}
    told = ", ".join(f"{name} {value:.2f}" for name, value in best.items())
    console.print(f"{len(table.cells)} trials; best mAP: {told}; {options.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
