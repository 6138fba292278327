"""Where the time of an epoch goes: a population of linear heads, or one trial end to end on the embedded digits.

    python benchmarks/step_profile.py linear --method wan --members 16 --batch-size 8
    python benchmarks/step_profile.py images

An epoch of a population makes a hundred thousand small calls, which PyTorch's profiler slows down several times, so it
is profiled from Python's side, where each call counts with what it started. End to end, shares are those of the time
that PyTorch's profiler sees operators spend on themselves, and what is left of the wall time is Python between them.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_loop import random_features  # noqa: E402
from benchmarks.linear_speed import CLASSES, DIM, SIZES, make_bundle  # noqa: E402
from benchmarks.measuring import machine  # noqa: E402
from plml.config import make_config  # noqa: E402
from plml.data.load import load_bundle  # noqa: E402
from plml.population import Population  # noqa: E402
from plml.trainer import Trainer  # noqa: E402

PARTS = {
    "products of features and weights": ("aten::mm", "aten::addmm", "aten::bmm"),
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::cudnn_convolution"),
    "normalisation": ("aten::native_batch_norm", "aten::native_batch_norm_backward", "aten::cudnn_batch_norm"),
    "optimiser": ("aten::_fused_adam_", "aten::_fused_sgd_"),
    "reading the batch": ("aten::index_select", "aten::index", "aten::cat"),
}


CALLS = {
    "products of features and weights": ("torch.mm", "torch._C._nn.linear"),
    "optimiser": ("_fused_adam", "_fused_sgd", "stacked_optimizer.py"),
    "losses and their gradients": ("torch._ops", "_ops.py", "eval_with_key", "<string>", "stacked_loss.py"),
    "reading the batch": ("index_select", "torch.cat", "expand"),
    "records and run folders": ("posix.", "_io.", "write_record", "checkpoint.py"),
}


def profile_calls(epoch: Callable[[], object]) -> Table:
    """Run ``epoch`` once under cProfile and return the shares of its parts."""
    recorder = cProfile.Profile()
    recorder.runcall(epoch)
    spent: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(recorder).stats.items():  # type: ignore[attr-defined]
        place = f"{file} {name}"
        part = next((part for part, marks in CALLS.items() if any(mark in place for mark in marks)), "everything else")
        spent[part] += own
    table = Table("part", "share", title=machine())
    for part, seconds in spent.most_common():
        table.add_row(part, f"{seconds / sum(spent.values()):.0%}")
    return table


def profile_operators(epoch: Callable[[], object]) -> Table:
    """Run ``epoch`` once under PyTorch's profiler and return the shares of its wall time."""
    began = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        epoch()
    wall = 1e6 * (time.perf_counter() - began)
    named = {name: part for part, names in PARTS.items() for name in names}
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in recorded.key_averages():
        part = named.get(event.key, "losses, gradients and everything else small")
        spent[part] += event.self_cpu_time_total
        calls[part] += event.count
    table = Table("part", "share", "calls", title=machine())
    for part, microseconds in spent.most_common():
        table.add_row(part, f"{microseconds / wall:.0%}", f"{calls[part]:,}")
    table.add_row("between operators", f"{max(0.0, 1 - sum(spent.values()) / wall):.0%}", "")
    return table


def main() -> None:
    """Profile the second epoch: the first one traces the loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", choices=("linear", "images"))
    parser.add_argument("--method", default="wan")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tree = {"epochs": 3, "device": "cpu", "method": options.method, "optim": {"batch_size": options.batch_size}}
    tree |= {"data": {"observation": "single_positive"}, "selection": {"labels": "clean"}}
    with tempfile.TemporaryDirectory() as scratch:
        if options.path == "linear":
            config = make_config({**tree, "mode": "linear"})
            bundle = make_bundle(random_features(SIZES, DIM, CLASSES))
            trainers = [Trainer(config, bundle, Path(scratch) / str(place)) for place in range(options.members)]
            population = Population(trainers)
            epoch: Callable[[], object] = population.epoch
        else:
            config = make_config(tree)
            reports = Trainer(config, load_bundle(config), Path(scratch)).epochs()
            epoch = reports.__next__
        epoch()
        Console().print(profile_calls(epoch) if options.path == "linear" else profile_operators(epoch))


if __name__ == "__main__":
    main()
