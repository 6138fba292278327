"""The least that each path must do, and how long that takes: operations and bytes, at the rates of this machine.

    python benchmarks/floors.py --out floors.json

A floor is the larger of two times: operations at the rate of a large square product, the most this machine does,
and bytes at the rate of a STREAM-like triad over as many bytes as the path works on (so small state is measured in
cache, and large state in memory). Both rates are the best of several rounds. Nothing else is counted: no dispatch, no
index, no random draw. What products of the linear step's own thin shapes reach is shown beside it. For one H100 (SXM)
the published rates are taken: 3.35 TB/s, 67 TFLOP/s in fp32, 494 in TF32 and 989 in bf16, both dense.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import (  # noqa: E402
    alone,
    available_cores,
    machine,
    number_text,
    seconds_each,
    wide_console,
    write,
)

FLOAT = 4  # bytes
PHOTO_SIDE = 448


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second.

    Attributes:
        flops: floating-point operations.
        bytes: bytes read and written.
    """

    flops: float
    bytes: float


@dataclass(frozen=True)
class Need:
    """What one step of a path must do, whoever does it.

    Attributes:
        flops: floating-point operations.
        bytes: bytes read and written.
        working_set: bytes that are gone through again at every step.
    """

    what: str
    flops: float
    bytes: float
    working_set: float

    def seconds(self, rates: Rates) -> float:
        """Return the floor: operations and bytes overlap, so the longer of the two counts."""
        return max(self.flops / rates.flops, self.bytes / rates.bytes)

    def bound(self, rates: Rates) -> str:
        """Return which of the two the floor is made of."""
        return "operations" if self.flops / rates.flops > self.bytes / rates.bytes else "bytes"


H100_FP32 = Rates(67e12, 3.35e12)
H100_TF32 = Rates(494e12, 3.35e12)
H100_BF16 = Rates(989e12, 3.35e12)


def linear_step(batch: int, dim: int, classes: int, population: int = 1) -> Need:
    """Return the need of one Adam step of ``population`` linear heads, weights (L, D) each.

    Adam reads weight, gradient and both moments and writes weight and both moments: 7 x D x L numbers. The batch of
    features is read once more. Forward and the gradient of the weights are 2 x B x D x L operations each; Adam itself
    has about 12 a weight.
    """
    weights = dim * classes
    flops = population * (4 * batch * weights + 12 * weights)
    moved = population * FLOAT * (7 * weights + batch * dim)
    name = f"linear step, B={batch} D={dim} L={classes} K={population}"
    return Need(name, flops, moved, population * FLOAT * 4 * weights)


def linear_epochs_per_second(need: Need, rates: Rates, *, examples: int, batch: int, population: int = 1) -> float:
    """Return epochs/s of one configuration when steps take their floor and nothing else happens."""
    return 1.0 / (need.seconds(rates) / population * math.ceil(examples / batch))


def resnet50_step(batch: int, side: int, *, width: int) -> Need:
    """Return the need of one training step of ResNet-50 with Adam; ``width`` is the size of an activation in bytes.

    Counted on the network itself, without data: operations of forward and backward; each convolution's output is at
    least written and read once in forward, read again in backward, and its gradient is written and read. Adam on the
    single-precision weights as in :func:`linear_step`.
    """
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.models import resnet50

    outputs = 0

    def count(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    with torch.device("meta"):
        model = resnet50(num_classes=20)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(batch, 3, side, side)).sum().backward()
    weights = sum(parameter.numel() for parameter in model.parameters())
    moved = 5 * outputs * width + 7 * FLOAT * weights
    name = f"ResNet-50 step, {side} px, batch {batch}, {8 * width}-bit activations"
    return Need(name, counter.get_total_flops(), moved, outputs * width)


def cached_image(side: int) -> Need:
    """Return the need of one image from the uint8 cache: it is read, and written into the batch."""
    return Need(f"image from cache, {side} px", 0, 2 * 3 * side**2, 2**28)


def metric_sort(examples: int, classes: int) -> Need:
    """Return the need of one sort of all scores: radix sort by 8 bits, key and position, four passes."""
    scores = examples * classes
    return Need(f"sort of {examples:,} x {classes} scores", 0, 4 * 2 * scores * 2 * FLOAT, examples * 2 * FLOAT * 2)


def triad_rate(working_set: float, device: str, *, at_least: float) -> float:
    """Return bytes/s of a = b + s c over three arrays that together hold ``working_set`` bytes."""
    count = max(1024, int(working_set / (3 * FLOAT)))
    target, first, second = (torch.ones(count, device=device) for _ in range(3))
    spent = seconds_each(on_device(lambda: torch.add(first, second, alpha=3.0, out=target), device), at_least=at_least)
    return 3 * FLOAT * count / spent


def product_rate(batch: int, dim: int, classes: int, population: int, device: str, *, at_least: float) -> float:
    """Return operations/s of the two products of a linear step: (K, B, D) (K, D, L) and (K, L, B) (K, B, D)."""
    features = torch.randn(population, batch, dim, device=device)
    weights = torch.randn(population, classes, dim, device=device)
    errors = torch.randn(population, classes, batch, device=device)
    logits, gradient = torch.empty(population, batch, classes, device=device), torch.empty_like(weights)

    def both() -> None:
        torch.bmm(features, weights.transpose(1, 2), out=logits)
        torch.bmm(errors, features, out=gradient)

    return 4 * population * batch * dim * classes / seconds_each(on_device(both, device), at_least=at_least)


def square_product_rate(device: str, *, at_least: float) -> float:
    """Return operations/s of a square single-precision product that fills the machine."""
    size = 4096 if device == "cuda" else 1024
    one, two = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    return 2 * size**3 / seconds_each(on_device(lambda: one @ two, device), at_least=at_least)


def on_device(work: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Return ``work`` with a wait for the device after it."""
    if device != "cuda":
        return work

    def waited() -> None:
        work()
        torch.cuda.synchronize()

    return waited


def decode_milliseconds(root: Path | None, side: int, *, at_least: float) -> float:
    """Return the wall time of PIL for one photo: open, decode, resize to ``side`` x ``side``."""
    import tempfile
    from itertools import cycle

    from PIL import Image

    from benchmarks.classic_loop import photos

    with tempfile.TemporaryDirectory() as scratch:
        files = cycle(photos(root, 64, Path(scratch)))

        def decode() -> None:
            with Image.open(next(files)) as image:
                image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)

        return 1e3 * seconds_each(decode, at_least=at_least)


def best_rates(need: Need, flops: float, device: str, *, rounds: int, at_least: float) -> Rates:
    """Return this machine's rates for one path: ``flops``, and the best triad over its working set."""
    size = max(need.working_set, 2**16)
    return Rates(flops, max(triad_rate(size, device, at_least=at_least) for _ in range(rounds)))


def paths() -> list[tuple[Need, Rates]]:
    """Return every path with the published rates of an H100 that it could use."""
    linear = [linear_step(batch, 2048, 20, population) for batch in (8, 32) for population in (1, 16)]
    return [
        *((need, H100_FP32) for need in linear),
        (resnet50_step(16, PHOTO_SIDE, width=4), H100_TF32),
        (resnet50_step(16, PHOTO_SIDE, width=2), H100_BF16),
        (cached_image(PHOTO_SIDE), H100_BF16),
        (metric_sort(40_000, 80), H100_FP32),
    ]


def table(rows: Sequence[tuple[Need, Rates, Rates]]) -> Table:
    """Return needs with the floors they give, here and on an H100."""
    shown = Table(title="floors", title_justify="left")
    for name in ("path", "MFLOP", "MB", "GFLOP/s", "GB/s", "floor here, us", "bound by", "floor H100, us", "bound by"):
        shown.add_column(name, justify="left" if name in ("path", "bound by") else "right", no_wrap=name == "path")
    for need, here, there in rows:
        numbers = (need.flops / 1e6, need.bytes / 1e6, here.flops / 1e9, here.bytes / 1e9)
        floors = (1e6 * need.seconds(here), 1e6 * need.seconds(there))
        shown.add_row(
            need.what,
            *map(number_text, numbers),
            number_text(floors[0]),
            need.bound(here),
            number_text(floors[1]),
            need.bound(there),
        )
    return shown


def main() -> None:
    """Measure the rates and print the floors."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-root", type=Path, help="photos to decode; default: made-up ones")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="short measurements")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, rounds = options.device, 2 if options.quick else options.rounds
    at_least = 0.05 if options.quick else 0.3
    square = [square_product_rate(device, at_least=at_least) for _ in range(rounds)]
    figures = [alone("square product", "GFLOP/s", [rate / 1e9 for rate in square])]
    for batch in (8, 32):
        for population in (1, 16):
            rates = [product_rate(batch, 2048, 20, population, device, at_least=at_least) for _ in range(rounds)]
            figures.append(alone(f"product, B={batch} K={population}", "GFLOP/s", [rate / 1e9 for rate in rates]))
    rows = []
    for need, published in paths():
        here = best_rates(need, max(square), device, rounds=rounds, at_least=at_least)
        rows.append((need, here, published))
        figures.append(alone(f"floor: {need.what}", "us", [1e6 * need.seconds(here)]))
    for size, name in ((2**18, "256 KiB"), (2**22, "4 MiB"), (2**28, "256 MiB")):
        values = [triad_rate(size, device, at_least=at_least) / 1e9 for _ in range(rounds)]
        figures.append(alone(f"triad over {name}", "GB/s", values))
    decode = [decode_milliseconds(options.data_root, PHOTO_SIDE, at_least=at_least) for _ in range(rounds)]
    figures.append(alone(f"PIL: decode and resize one photo to {PHOTO_SIDE} px", "ms", decode))
    console = wide_console()
    console.print(table(rows))
    for figure in figures:
        console.print(f"{figure.what}: {number_text(figure.value)} {figure.unit}")
    console.print(f"{machine()}; one thread of {available_cores()}")
    write(figures, options.out)


if __name__ == "__main__":
    main()
