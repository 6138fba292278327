"""What a data set of the size of OpenImages would cost, from slices of it: 5,000 classes, a few thousand images.

    python benchmarks/scale_data.py --out scale_data.json

For each cost two sizes of slice are measured, and the growth for a further million images is the slope between them:
dense labels in memory, their drawing, the per-example state of ROLE and its dense Adam step, a step of EPR (which has
no state for unseen images once they leave the batch), validation mAP. Beside them: the same labels as a sparse matrix,
and what it takes to make a batch of it dense. Labels are random, 3 positives an image.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, alone, show, write  # noqa: E402
from plml.labels import Batch, LabelInfo, ModelOutput  # noqa: E402
from plml.methods import build_method  # noqa: E402
from plml.metrics import mean_average_precision  # noqa: E402
from plml.observation import observe  # noqa: E402

CLASSES, POSITIVES, BATCH, FEATURES = 5000, 3, 256, 64
SLICES = (4000, 8000)
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    small, large = (random_truth(size) for size in SLICES)
    results = [
        *label_results(small, large),
        *step_results(small, large),
        *sparse_results(large),
        slope("validation mAP, a million images", "s", lambda truth: map_seconds(truth), small, large),
    ]
    show(f"{CLASSES:,} classes, slices of {SLICES[0]:,} and {SLICES[1]:,} images", results)
    write(results, options.out)


def random_truth(images: int) -> NDArray[np.int8]:
    """Return (N, L) labels with ``POSITIVES`` positives an image."""
    draw = np.random.default_rng(0)
    truth = np.zeros((images, CLASSES), dtype=np.int8)
    truth[np.arange(images)[:, None], draw.integers(0, CLASSES, (images, POSITIVES))] = 1
    return truth


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the smallest wall time of some calls after a first one."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)  # a machine that others use only ever adds


def slope(
    what: str,
    unit: str,
    cost: Callable[[NDArray[np.int8]], float],
    small: NDArray[np.int8],
    large: NDArray[np.int8],
) -> Figure:
    """Return by how much ``cost`` grows for a million images."""
    growth = (cost(large) - cost(small)) / (len(large) - len(small))
    return alone(what, unit, [1e6 * growth])


def label_results(small: NDArray[np.int8], large: NDArray[np.int8]) -> list[Figure]:
    """Dense labels: what they take, and what drawing single positives takes."""
    setting = {"name": "single_positive"}
    return [
        slope("dense labels, truth and observed, a million images", "GB", lambda t: 2 * t.nbytes / 1e9, small, large),
        slope("drawing single positives, a million images", "s", lambda t: seconds(lambda: observe(t, setting, 0), 2),
              small, large),
    ]  # fmt: skip


def step_results(small: NDArray[np.int8], large: NDArray[np.int8]) -> list[Figure]:
    """A step of a linear classifier with and without a state for every image."""
    return [
        alone("a step of epr, 256 images", "ms", [1e3 * step_seconds("epr", large)]),
        slope("growth with a million images, epr", "ms", lambda t: 1e3 * step_seconds("epr", t), small, large),
        alone("a step of role, 256 of 8,000 images", "ms", [1e3 * step_seconds("role", large)]),
        slope("growth with a million images, role", "ms", lambda t: 1e3 * step_seconds("role", t), small,
              large),
        slope("role's state and moments, a million images", "GB", lambda t: 3 * 4 * t.size / 1e9, small, large),
    ]  # fmt: skip


def step_seconds(name: str, truth: NDArray[np.int8]) -> float:
    """Return the seconds of a step of a linear classifier on random features, its optimiser included."""
    torch.manual_seed(0)
    observed = torch.from_numpy(observe(truth, {"name": "single_positive"}, 0))
    labels = LabelInfo(observed, expected_positives=float(POSITIVES), feature_dim=FEATURES)
    method = build_method(name, labels, {}, "fixed")
    head = torch.nn.Linear(FEATURES, CLASSES)
    optimizer = torch.optim.Adam([*head.parameters(), *method.parameters()], lr=1e-3, fused=True)
    inputs = torch.randn(BATCH, FEATURES)
    index = torch.arange(BATCH)

    def step() -> None:
        optimizer.zero_grad()
        output = ModelOutput(head(inputs), inputs, class_weights=head.weight, class_bias=head.bias)
        method(output, Batch(inputs, observed[index], index)).backward()
        optimizer.step()

    return seconds(step)


def sparse_results(truth: NDArray[np.int8]) -> list[Figure]:
    """The same labels as a sparse matrix."""
    sparse = csr_array(truth)
    stored = sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes
    index = np.random.default_rng(0).permutation(len(truth))[:BATCH]
    return [
        alone("sparse labels, a million images", "GB", [1e6 * stored / len(truth) / 1e9]),
        alone("256 rows of sparse labels made dense", "ms", [1e3 * seconds(lambda: sparse[index].toarray())]),
    ]


def map_seconds(truth: NDArray[np.int8]) -> float:
    """Return the seconds of mAP over all classes."""
    target = torch.from_numpy(truth)
    scores = torch.randn(truth.shape)
    return seconds(lambda: mean_average_precision(scores, target), 2)


if __name__ == "__main__":
    main()
