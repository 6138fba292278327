"""How the field's scripts train: the loop that plml's speed is compared with.

    python benchmarks/classic_loop.py linear --batch-size 8 --workers 4
    python benchmarks/classic_loop.py images --data-root VOCdevkit --batch-size 16 --workers 4

A rendering in our own words of the structure that the released code of Cole et al. (CVPR 2021, arXiv:2106.09708) and
its successors share. One item at a time is read by a Dataset (a NumPy row, or PIL: decode, resize to 448, flip,
normalise) and collated by a DataLoader; every epoch runs the phases train, val and test; every batch moves inputs to
the device, zeroes gradients, runs forward, loss, backward and stock Adam, and copies predictions and labels back to
the host; every phase ends with scikit-learn's average precision class by class. The last incomplete batch is dropped
in all phases, as there. What the scripts compute besides (precision and recall at k, the same figures on
observed labels) is left out, which favours the loop.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_losses import NAMES, ON_TRUE_LABELS, Estimates, classic_loss  # noqa: E402
from benchmarks.measuring import alone, seconds, show, write  # noqa: E402

PHASES = ("train", "val", "test")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Labels = NDArray[np.float32]


class Items(Dataset[dict[str, Any]]):
    """One split, read item by item.

    Args:
        read: gives the input tensor of item ``i``.
        truth: (N, L), 1 positive, 0 negative.
        observed: (N, L), 1 positive, 0 unknown.
    """

    def __init__(self, read: Callable[[int], Tensor], truth: Labels, observed: Labels) -> None:
        self.read, self.truth, self.observed = read, truth, observed

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "image": self.read(index),
            "truth": torch.from_numpy(np.copy(self.truth[index])),
            "observed": torch.from_numpy(np.copy(self.observed[index])),
            "index": index,
        }


def feature_reader(features: NDArray[np.float32]) -> Callable[[int], Tensor]:
    """Return a reader of stored feature rows (N, D)."""
    return lambda index: torch.from_numpy(np.copy(features[index]))


def image_reader(paths: Sequence[Path], size: int, *, flip: bool) -> Callable[[int], Tensor]:
    """Return a reader that decodes, resizes, maybe flips and normalises one photo with PIL and torchvision."""
    from torchvision import transforms

    steps = [transforms.Resize((size, size)), transforms.RandomHorizontalFlip(0.5 if flip else 0.0)]
    prepare = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def read(index: int) -> Tensor:
        with Image.open(paths[index]) as image:
            prepared: Tensor = prepare(image.convert("RGB"))
            return prepared

    return read


@dataclass
class ClassicRun:
    """One configuration in training.

    Attributes:
        splits: ``{train, val, test: items}``.
        model: gives logits (B, L).
        loss: one of the names of :mod:`benchmarks.classic_losses`.
        lr: of Adam; role's estimates have ten times as much.
        expected: k of epr and role.
    """

    splits: dict[str, Items]
    model: nn.Module
    loss: str = "an"
    lr: float = 1e-3
    batch_size: int = 8
    workers: int = 4
    device: str = "cpu"
    expected: float = 1.5

    def __post_init__(self) -> None:
        self.model.to(self.device)
        self.estimates = Estimates(torch.from_numpy(self.splits["train"].observed)).to(self.device)
        groups = [{"params": list(self.model.parameters()), "lr": self.lr}]
        if self.loss == "role":
            groups.append({"params": list(self.estimates.parameters()), "lr": 10 * self.lr})
        self.optimizer = torch.optim.Adam(groups, lr=self.lr)
        self.loaders = {
            phase: DataLoader(
                self.splits[phase],
                batch_size=self.batch_size,
                shuffle=phase == "train",
                num_workers=self.workers,
                drop_last=True,
            )
            for phase in PHASES
        }

    def epoch(self) -> dict[str, float]:
        """Run all phases once and return the mAP of each, in percent."""
        return {phase: self.run_phase(phase) for phase in PHASES}

    def run_phase(self, phase: str) -> float:
        """Pass over one split, training on it if it is the training split, and return its mAP."""
        training = phase == "train"
        self.model.train(training)
        scores, labels = [], []
        for batch in self.loaders[phase]:
            image = batch["image"].to(self.device, non_blocking=True)
            observed = batch["observed"].to(self.device, non_blocking=True)
            truth = batch["truth"].to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with torch.set_grad_enabled(training):
                probability = torch.sigmoid(self.model(image))
                if training:
                    self.step(probability, truth, observed, batch["index"].to(self.device))
            scores.append(probability.detach().cpu().numpy())
            labels.append(truth.cpu().numpy())
        return mean_average_precision(np.concatenate(scores), np.concatenate(labels))

    def step(self, probability: Tensor, truth: Tensor, observed: Tensor, index: Tensor) -> None:
        """Loss, backward, and a step of Adam."""
        taught = truth if self.loss in ON_TRUE_LABELS else observed
        estimates = self.estimates(index) if self.loss == "role" else None
        loss = classic_loss(self.loss, probability, taught, expected=self.expected, estimates=estimates)
        loss.backward()
        self.optimizer.step()


def mean_average_precision(scores: NDArray[np.float32], labels: Labels) -> float:
    """Return 100 x the mean of scikit-learn's average precision over classes; a class without positives counts 0."""
    from sklearn.metrics import average_precision_score

    columns = range(labels.shape[1])
    each = [average_precision_score(labels[:, i], scores[:, i]) if labels[:, i].any() else 0.0 for i in columns]
    return 100.0 * float(np.mean(each))


def random_labels(count: int, classes: int, seed: int) -> tuple[Labels, Labels]:
    """Return true labels with 1.5 positives an image on average, never none, and one observed positive of each."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, classes)) < 0.5 / (classes - 1)).astype(np.float32)
    shown = generator.integers(classes, size=count)
    truth[np.arange(count), shown] = 1.0
    observed = np.zeros_like(truth)
    observed[np.arange(count), shown] = 1.0
    return truth, observed


def random_features(sizes: dict[str, int], dim: int, classes: int) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """Return ``{split: (features, truth, observed)}`` in which the labels can be learned from the features."""
    directions = np.random.default_rng(0).standard_normal((classes, dim)).astype(np.float32)
    made: dict[str, tuple[NDArray[np.float32], ...]] = {}
    for seed, (name, count) in enumerate(sizes.items(), start=1):
        truth, observed = random_labels(count, classes, seed)
        noise = np.random.default_rng(seed + 100).standard_normal((count, dim)).astype(np.float32)
        made[name] = (np.maximum(0.2 * truth @ directions + noise, 0.0), truth, observed)  # as after a ReLU
    return made


def linear_run(data: dict[str, tuple[NDArray[np.float32], ...]], **settings: Any) -> ClassicRun:
    """Return a run of a linear layer on stored features."""
    splits = {name: Items(feature_reader(array), truth, observed) for name, (array, truth, observed) in data.items()}
    features, truth, _ = data["train"]
    return ClassicRun(splits, nn.Linear(features.shape[1], truth.shape[1]), **settings)


def image_run(paths: Sequence[Path], *, size: int, classes: int, model: nn.Module, **settings: Any) -> ClassicRun:
    """Return a run of ``model`` on photos, three fifths of them to train on, one fifth each for val and test."""
    fifth = len(paths) // 5
    shares = {"train": paths[: 3 * fifth], "val": paths[3 * fifth : 4 * fifth], "test": paths[4 * fifth :]}
    splits = {
        name: Items(image_reader(part, size, flip=name == "train"), *random_labels(len(part), classes, seed))
        for seed, (name, part) in enumerate(shares.items())
    }
    return ClassicRun(splits, model, **settings)


def photos(root: Path | None, count: int, folder: Path) -> list[Path]:
    """Return ``count`` JPEG files below ``root``; without a root, made-up ones of 500 x 375 are written first."""
    if root is not None:
        found = sorted(root.rglob("*.jpg"))
        if not found:
            raise SystemExit(f"--data-root {root}: no .jpg file below it")
        return [found[place % len(found)] for place in range(count)]
    generator = np.random.default_rng(0)
    made = []
    for place in range(min(count, 32)):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = generator.integers(-12, 13, smooth.shape)
        file = folder / f"{place:03d}.jpg"
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(file, quality=90)
        made.append(file)
    return [made[place % len(made)] for place in range(count)]


def main() -> None:
    """Time the phases of an epoch."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mode", choices=("linear", "images"), nargs="?", default="linear")
    parser.add_argument("--loss", choices=NAMES, default="an")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tf32", action="store_true", help="allow TensorFloat-32 in products and convolutions")
    parser.add_argument("--epochs", type=int, default=3, help="measured, after one that warms up")
    parser.add_argument("--data-root", type=Path, help="photos of mode images; default: made-up ones")
    parser.add_argument("--images", type=int, default=640, help="photos of mode images")
    parser.add_argument("--image-size", type=int, default=448)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    options = parser.parse_args()
    # On fewer than four cores torch advises against four workers; the scripts have four all the same.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    if options.tf32:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    settings = {key: getattr(options, key) for key in ("loss", "batch_size", "workers", "device")}
    with tempfile.TemporaryDirectory() as scratch:
        if options.mode == "linear":
            small = options.quick
            sizes = {"train": 500, "val": 100, "test": 500} if small else {"train": 5000, "val": 1143, "test": 5823}
            run = linear_run(random_features(sizes, 2048, 20), **settings)
        else:
            from torchvision.models import resnet18, resnet50

            model = (resnet18 if options.quick else resnet50)(num_classes=20)
            count, size = (40, 64) if options.quick else (options.images, options.image_size)
            files = photos(options.data_root, count, Path(scratch))
            run = image_run(files, size=size, classes=20, model=model, **settings)
        run.epoch()
        spent: dict[str, list[float]] = {phase: [] for phase in PHASES}
        for _ in range(1 if options.quick else options.epochs):
            for phase in PHASES:
                spent[phase].append(seconds(lambda phase=phase: run.run_phase(phase)))  # type: ignore[misc]
    name = f"classic loop, {options.mode}, batch {options.batch_size}, {options.workers} workers"
    figures = [alone(f"{name}, {phase}", "s/epoch", values) for phase, values in spent.items()]
    figures.append(alone(name, "epochs/s", [1 / sum(each) for each in zip(*spent.values(), strict=True)]))
    show("classic loop", figures)
    write(figures, options.out)


if __name__ == "__main__":
    main()
