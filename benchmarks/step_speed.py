"""One training step and one evaluation pass end to end, against those of the classic loop; and each lever left out.

    python benchmarks/step_speed.py                            ResNet-50, 448 px on CUDA; MobileNetV2, 128 px on a CPU
    python benchmarks/step_speed.py --compile always           compiled on a CPU too; a minute more
    python benchmarks/step_speed.py --backbone mobilenet_v2 --image-size 224 --batch-size 8

Ours is :class:`plml.training_step.TrainingStep` on uint8 images that are on the device already, with the flip and the
normalisation in it. The classic step gets what a DataLoader would hand over, a normalised float batch on the host:
copy, forward, loss on probabilities, backward, Adam as torch has it, probabilities back to the host. Reading photos is
in neither (``decode_speed.py``, ``classic_loop.py images``). Candidates take turns, and a ratio is formed within a
turn. Images are random: what is in them does not change the time.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_losses import classic_loss  # noqa: E402
from benchmarks.measuring import alone, compared, seconds, show, take_turns, write  # noqa: E402
from plml import numerics  # noqa: E402
from plml.compiling import wants_compiled  # noqa: E402
from plml.config import Precision, TrainConfig, make_config  # noqa: E402
from plml.device import pick_device  # noqa: E402
from plml.host_memory import keep_freed_memory  # noqa: E402
from plml.labels import LabelInfo  # noqa: E402
from plml.methods import build_method  # noqa: E402
from plml.models import Classifier, build_model  # noqa: E402
from plml.models.normalization import normalize  # noqa: E402
from plml.optim import Optimization  # noqa: E402
from plml.scoring import pass_size, score  # noqa: E402
from plml.training_step import TrainingStep  # noqa: E402

CLASSES = 20
LEVERS = ("bfloat16", "channels last", "fused optimiser", "compiled")


@dataclass(frozen=True)
class Problem:
    """What every candidate works on.

    Attributes:
        backbone: a name of ``plml.models.backbones``.
        pixels: images (N, C, S, S) uint8, channels last, on the device; N is at least a batch.
        observed: (N, L) int8, on the device.
        batch_size: B.
    """

    backbone: str
    pixels: Tensor
    observed: Tensor
    batch_size: int

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.pixels.device

    def network(self) -> Classifier:
        """Return the network with its random start."""
        torch.manual_seed(0)
        config = make_config({"model": {"backbone": self.backbone}}).model
        return build_model(config, num_classes=CLASSES, input_shape=tuple(self.pixels.shape[1:])).to(self.device)


class Ours:
    """The step and the scoring of this project, all of it or without one lever."""

    def __init__(self, problem: Problem, precision: Precision, compile_: str, without: str = "") -> None:
        self.problem, self.without = problem, without
        self.config: TrainConfig = make_config(
            {"precision": precision, "compile": "never" if without == "compiled" else compile_, "method": "an"}
        )
        self.network = problem.network()
        labels = LabelInfo(problem.observed.cpu(), 1.5, [str(n) for n in range(CLASSES)], self.network.feature_dim)
        method = build_method("an", labels, {}, "fixed").to(problem.device)
        optimization = Optimization(self.config.optim, 1e-3, self.network.param_groups(1e-3), 1, 1)
        if without == "fused optimiser":
            for group in optimization.optimizers[0].param_groups:
                group["fused"] = None  # as torch chooses when nobody asks
        self.train_step = TrainingStep(self.config, self.network, method, None, optimization, None, flip=True)
        self.images = problem.pixels
        if without == "channels last":
            self.network.to(memory_format=torch.contiguous_format)
            self.images = problem.pixels.contiguous()
        self.index = torch.arange(problem.batch_size, device=problem.device)
        self.flips = self.index % 2 == 0

    def step(self) -> None:
        """Train one batch."""
        self.network.train()
        size = self.problem.batch_size
        with mock.patch.object(numerics, "has_bfloat16", self._has_bfloat16()):
            self.train_step(self.images[:size], self.problem.observed[:size], self.index, self.flips)

    def evaluate(self) -> None:
        """Score all images."""
        with mock.patch.object(numerics, "has_bfloat16", self._has_bfloat16()):
            score(self.network, len(self.images), lambda index: self.images[index], precision=self.config.precision)

    def _has_bfloat16(self) -> Callable[[torch.device], bool]:
        return (lambda _: False) if self.without == "bfloat16" else numerics.has_bfloat16


class Classic:
    """The step and the evaluation of the classic loop, in single precision or with TF32 allowed."""

    def __init__(self, problem: Problem, *, tf32: bool) -> None:
        self.problem, self.tf32 = problem, tf32
        self.network = problem.network()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.images = normalize(problem.pixels.cpu().contiguous())
        self.observed = problem.observed.float().cpu()

    def step(self) -> None:
        """Train one batch."""
        self._switches()
        self.network.train()
        self._batch(0, training=True)

    def evaluate(self) -> None:
        """Score all images, batch by batch as in training."""
        self._switches()
        self.network.eval()
        with torch.no_grad():
            for start in range(0, len(self.images), self.problem.batch_size):
                self._batch(start, training=False)

    def _batch(self, start: int, *, training: bool) -> None:
        rows = slice(start, start + self.problem.batch_size)
        image = self.images[rows].to(self.problem.device, non_blocking=True)
        observed = self.observed[rows].to(self.problem.device, non_blocking=True)
        self.optimizer.zero_grad()
        probability = torch.sigmoid(self.network(image).logits)
        if training:
            classic_loss("an", probability, observed, expected=1.5, estimates=None).backward()
            self.optimizer.step()
        probability.detach().cpu().numpy()

    def _switches(self) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, False


def measured(work: Callable[[], None], device: torch.device, times: int) -> Callable[[], float]:
    """Return a function that gives the seconds of one call, as the mean of ``times``."""

    def measure() -> float:
        def repeat() -> None:
            for _ in range(times):
                work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return seconds(repeat) / times

    return measure


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", help="default: resnet50 on CUDA, mobilenet_v2 on a CPU")
    parser.add_argument("--image-size", type=int, help="default: 448 on CUDA, 128 on a CPU")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--compile", choices=("never", "auto", "always"), default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    device = pick_device(options.device)
    on_cuda = device.type == "cuda"
    keep_freed_memory()
    torch.set_num_threads(1)
    backbone = options.backbone or ("resnet50" if on_cuda and not options.quick else "mobilenet_v2")
    size = options.image_size or (64 if options.quick else 448 if on_cuda else 128)
    batch_size, rounds = (8, 2) if options.quick else (options.batch_size, options.rounds)
    steps = 20 if on_cuda else 2
    count = max(batch_size, pass_size(torch.Size((3, size, size)), device))

    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2).to(device)
    observed = torch.where(torch.rand(count, CLASSES) < 0.1, 1, -1).to(torch.int8).to(device)
    problem = Problem(backbone, pixels, observed, batch_size)

    compiling = wants_compiled(options.compile, device)
    levers = [lever for lever in LEVERS if lever != "compiled" or compiling]
    if not numerics.has_bfloat16(device):
        levers.remove("bfloat16")
    candidates: dict[str, Ours | Classic] = {
        "classic fp32": Classic(problem, tf32=False),
        **({"classic TF32": Classic(problem, tf32=True)} if on_cuda else {}),
        "paper": Ours(problem, "paper", "never"),
        "fast": Ours(problem, "fast", options.compile),
        **{f"fast without {lever}": Ours(problem, "fast", options.compile, lever) for lever in levers},
    }
    figures = []
    if compiling:
        fast = candidates["fast"]
        figures.append(alone("compile, training", "s", [measured(fast.step, device, 1)()]))
        figures.append(alone("compile, evaluation", "s", [measured(fast.evaluate, device, 1)()]))
    where = f"{backbone}, {size} px"
    works = {
        f"step, {where}, batch {batch_size}": {n: measured(c.step, device, steps) for n, c in candidates.items()},
        f"score {count}, {where}": {n: measured(c.evaluate, device, 1) for n, c in candidates.items()},
    }
    for what, work in works.items():
        times = take_turns(work, rounds=rounds, warmup=1 if options.quick else 2)
        spent = {name: [1000 * value for value in values] for name, values in times.items()}
        first, *others = spent
        figures.append(alone(f"{what}, {first}", "ms", spent[first]))
        for name in others:
            against = "fast" if name.startswith("fast without") else first
            figures.append(
                compared(f"{what}, {name}", "ms", spent[name], against, spent[against], smaller_is_better=True)
            )
        if on_cuda:
            tf32 = spent["classic TF32"]
            figures.append(compared(f"{what}, fast", "ms", spent["fast"], "classic TF32", tf32, smaller_is_better=True))
    show(f"End to end on {device}", figures)
    write(figures, options.out)


if __name__ == "__main__":
    main()
