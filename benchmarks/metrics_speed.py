"""Metrics against scikit-learn class by class, and many models in one call against one at a time.

    python benchmarks/metrics_speed.py --out metrics_speed.json

mAP is compared on the same scores and labels, COCO's shape by default, with class frequencies that fall as those of
photographs do (the most frequent class is in 45 % of the images). The floor is one sort of the values, nothing else, by
the faster of numpy and PyTorch. Before anything is timed the two mAPs must agree to 1e-12 in double precision, also
with ties. On a GPU the scores lie there; scikit-learn has them on the host, copies not counted.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, alone, compared, seconds, seconds_each, show, take_turns, write  # noqa: E402
from plml.metrics import mean_average_precision, multilabel_metrics, stacked_multilabel_metrics  # noqa: E402

SMALL_CALL = 0.05  # seconds that short calls are repeated for


def random_table(models: int, size: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return scores (K, N, L), which say something of the labels, and labels (N, L) int8."""
    generator = torch.Generator().manual_seed(seed)
    frequency = 0.45 / torch.arange(1, classes + 1) ** 0.75
    target = (torch.rand(size, classes, generator=generator) < frequency).to(torch.int8)
    target[0] = 1  # no class without positives
    return torch.randn(models, size, classes, generator=generator) + target, target


def scikit_learn(scores: Tensor, target: Tensor) -> float:
    """Return mAP in percent as the field's scripts compute it."""
    columns = zip(scores.numpy().T, target.numpy().T, strict=True)
    return 100.0 * float(np.mean([average_precision_score(labels, column) for column, labels in columns]))


def check(scores: Tensor, target: Tensor, device: str) -> None:
    """Raise if the figures disagree, on scores as they are and on scores with many ties."""
    for table in (scores.double(), (8 * scores).round().double()):
        mine = mean_average_precision(table.to(device), target.to(device)).item()
        if abs(mine - scikit_learn(table, target)) > 1e-10:  # percent
            raise SystemExit(f"mAP is {mine}, scikit-learn says {scikit_learn(table, target)}")


def sorter(rows: Tensor) -> Callable[[], Any]:
    """Return what sorts the rows' values and does nothing else."""
    if rows.device.type != "cpu":
        return lambda: float(rows.sort(dim=-1).values[0, 0])
    return lambda: np.sort(rows.numpy(), axis=-1)


def measure_map(options: argparse.Namespace, where: str) -> list[Figure]:
    """Return mAP of one large table against scikit-learn and against the floor."""
    (scores,), target = random_table(1, options.size, options.classes)
    check(scores[:3000], target[:3000], options.device)
    there, labels = scores.to(options.device), target.to(options.device)
    rows = there.T.contiguous()
    times = take_turns(
        {
            "mine": lambda: seconds_each(lambda: mean_average_precision(there, labels).item(), at_least=SMALL_CALL),
            "scikit-learn": lambda: seconds(lambda: scikit_learn(scores, target)),
            "floor": lambda: seconds_each(sorter(rows), at_least=SMALL_CALL),
        },
        rounds=options.rounds,
    )
    milliseconds = {name: [1e3 * value for value in values] for name, values in times.items()}
    mine, shape = milliseconds["mine"], f"{options.size:,} x {options.classes}"
    return [
        compared(f"mAP, {shape}, {where}", "ms", mine, other, milliseconds[other], smaller_is_better=True)
        for other in ("scikit-learn", "floor")
    ]


def measure_reports(options: argparse.Namespace, where: str) -> list[Figure]:
    """Return all reported figures of a split, alone and for K models in one call, in ms a model."""
    figures = []
    for size, classes, models in options.reports:
        scores, target = (values.to(options.device) for values in random_table(models, size, classes))
        count = len(scores)
        times = take_turns(
            {
                "alone": lambda s=scores, t=target: seconds_each(  # type: ignore[misc]
                    lambda: multilabel_metrics(s[0], t), at_least=SMALL_CALL
                ),
                "together": lambda s=scores, t=target: seconds_each(  # type: ignore[misc]
                    lambda: stacked_multilabel_metrics(s, t), at_least=SMALL_CALL
                ),
            },
            rounds=options.rounds,
        )
        single, each = [1e3 * t for t in times["alone"]], [1e3 * t / count for t in times["together"]]
        what = f"all figures, {size:,} x {classes}, "
        figures.append(alone(f"{what}one model, {where}", "ms", single))
        together = f"{what}K={count}, {where}"
        figures.append(compared(together, "ms a model", each, "one model", single, smaller_is_better=True))
    return figures


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=40_000, help="N of the mAP")
    parser.add_argument("--classes", type=int, default=80, help="L of the mAP")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of PyTorch; scikit-learn has one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="an eighth of the data, three rounds")
    options = parser.parse_args()
    options.reports = [(310, 20, 16), (5000, 20, 16), (40_000, 80, 2)]
    if options.quick:
        options.size, options.rounds, options.reports = options.size // 8, 3, options.reports[:2]
    if options.device != "cpu":
        options.threads = options.threads[:1]
    return options


def measure(options: argparse.Namespace) -> Sequence[Figure]:
    """Return all figures, for each number of threads on a CPU."""
    figures = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        on_cpu = f"{threads} thread{'s' if threads > 1 else ''}"
        where = on_cpu if options.device == "cpu" else torch.cuda.get_device_name()
        figures += [*measure_map(options, where), *measure_reports(options, where)]
    return figures


def main() -> None:
    """Measure, print, write."""
    options = parse()
    warnings.filterwarnings("error", message="No positive class found")  # else scikit-learn's mean is another one
    began = time.perf_counter()
    figures = measure(options)
    show(f"metrics, {time.perf_counter() - began:.0f} s", figures)
    write(figures, options.out)


if __name__ == "__main__":
    main()
