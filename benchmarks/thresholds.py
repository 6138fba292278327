"""What thresholds are worth by the labels that chose them: F1 on real test photos, table of docs/deploying.md.

    python benchmarks/thresholds.py --root VOCdevkit --weights mobilenet_v2.safetensors

Linear heads on MobileNetV2 features of VOC 2007, three or four methods a setting, each with ``--draws`` label draws.
Thresholds are chosen on the validation split of each run and applied to its test photos, whose labels are clean. Runs
are kept in ``--out`` and not trained again.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plml.checkpoint import load_array, load_arrays, load_checkpoint  # noqa: E402
from plml.config import TrainConfig, load_config, make_config  # noqa: E402
from plml.data.load import load_bundle  # noqa: E402
from plml.labels import POSITIVE  # noqa: E402
from plml.metrics import threshold_metrics  # noqa: E402
from plml.standings import Evidence  # noqa: E402
from plml.thresholds.calibration import Calibration, fit_calibration  # noqa: E402
from plml.thresholds.choice import CriterionName, Scope, choose_thresholds  # noqa: E402
from plml.thresholds.evidence import Basis, find_basis  # noqa: E402
from plml.thresholds.label_estimates import LabelEstimates, estimate_labels  # noqa: E402
from plml.trainer import Trainer  # noqa: E402

SETTINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "single_positive": ({"name": "single_positive"}, ["an", "role", "em", "wan"]),
    "biased by size": ({"name": "biased_single_positive", "bias": "size"}, ["an", "role", "em", "wan"]),
    "half of positives": ({"name": "missing_positives", "fraction": 0.5}, ["an", "role", "em"]),
    "10 % known": ({"name": "known_fraction", "fraction": 0.1}, ["bce", "csl", "role"]),
    "candidates 0.2": ({"name": "candidate_set", "rate": 0.2}, ["candidate_bce", "role", "ccmn"]),
}
LABEL_SEED = 1200
WAYS: list[tuple[str, str, CriterionName, Scope]] = [
    (f"{labels}, {criterion}, {scope}", labels, criterion, scope)
    for labels in ("observed", "as if complete", "clean")
    for criterion in ("cardinality", "f1", "lee_liu")
    for scope in ("class", "global")
]


def main() -> int:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds VOCdevkit")
    parser.add_argument("--weights", required=True, help="ImageNet weights of MobileNetV2")
    parser.add_argument("--draws", type=int, default=3, help="label draws of each setting")
    parser.add_argument("--out", default="runs/thresholds")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    table: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    calibration: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for setting, (observation, methods) in SETTINGS.items():
        for draw in range(options.draws):
            for folder in train(options, setting, observation, methods, draw):
                judge(folder, table[setting], calibration[setting])
                console.print(f"done: {folder.name}")
    for title, figures in (
        ("mean F1 of classes / F1 of all entries, test, %", table),
        ("calibration error of test probabilities, % / predicted for each positive that there is", calibration),
    ):
        console.print(f"\n{title}\n\n| | {' | '.join(figures)} |\n|---{'|---' * len(figures)}|")
        for way in next(iter(figures.values())):
            cells = (
                " / ".join(f"{fmean(column):.1f}" for column in zip(*figures[s][way], strict=True)) for s in figures
            )
            console.print(f"| {way} | {' | '.join(cells)} |")
    return 0


def train(
    options: argparse.Namespace, setting: str, observation: dict[str, Any], methods: list[str], draw: int
) -> list[Path]:
    """Return the folders of a setting's runs with one label draw, trained."""
    folders, bundle = [], None
    for method in methods:
        folder = Path(options.out) / f"{setting.replace(' ', '-')}-{method}-{draw}"
        folders.append(folder)
        if (folder / "result.json").is_file():
            continue
        data = {"name": "voc2007", "root": options.root, "image_size": 224, "observation": observation}
        config = make_config(
            {
                "mode": "linear",
                "epochs": 15,
                "seed": draw,
                "method": method,
                "data": {**data, "observation_seed": LABEL_SEED + draw},
                "model": {"backbone": "mobilenet_v2", "weights": options.weights},
                "optim": {"lr": 3e-3, "batch_size": 64},
            }
        )
        bundle = bundle or load_bundle(config)
        for _ in Trainer(config, bundle, folder).epochs():
            pass
    return folders


def judge(
    folder: Path,
    table: dict[str, list[tuple[float, float]]],
    calibration: dict[str, list[tuple[float, float]]],
) -> None:
    """Add what each way to choose gives on the test photos of a run."""
    config = load_config(folder / "config.yaml")
    epoch = load_checkpoint(folder / "best.pt")["epoch"]
    logits, test = (
        torch.from_numpy(load_array(folder / "scores" / name)) for name in (f"val_{epoch:04d}.npy", "test.npy")
    )
    labels = torch.from_numpy(load_array(folder / "scores" / "test_labels.npy"))
    given = load_arrays(folder / "scores" / "labels.npz")
    basis, evidence = estimates_of(config, logits, given)
    table["0.5"].append(f1(test, labels, torch.zeros(test.shape[1])))
    for name, by, criterion, scope in WAYS:
        cuts = choose_thresholds(logits, evidence[by], criterion=criterion, scope=scope).logits
        table[name].append(f1(test, labels, cuts))
    calibration["none"].append(reliability(test, labels, Calibration()))
    for name, by, prior_only in (
        ("observed", "observed", not basis.by_entry),
        ("observed, offset only", "observed", True),
        ("clean", "clean", False),
        ("clean, offset only", "clean", True),
    ):
        fitted = fit_calibration(logits, evidence[by], prior_only=prior_only)
        calibration[name].append(reliability(test, labels, fitted))


def estimates_of(config: TrainConfig, logits: Tensor, given: dict[str, Any]) -> tuple[Basis, dict[str, LabelEstimates]]:
    """Return what each kind of validation labels says of the validation images."""
    truth, observed = torch.from_numpy(given["truth"]), torch.from_numpy(given["observed"])
    k = float(given["expected_positives"])
    basis = find_basis(config, logits, truth=truth, observed=observed, expected_positives=None if k != k else k)
    everything = torch.ones_like(observed, dtype=torch.bool)
    # What a user does who takes the labels for complete; of candidate sets the candidates.
    shown = observed == POSITIVE if bool((observed == POSITIVE).any()) else observed != 0
    return basis, {
        "observed": basis.estimates,
        "as if complete": LabelEstimates(shown.double(), everything),
        "clean": estimate_labels(Evidence(truth), logits),
    }


def f1(logits: Tensor, labels: Tensor, cuts: Tensor) -> tuple[float, float]:
    """Return the mean of the classes' F1 and the F1 of all entries, in percent."""
    found = threshold_metrics(logits.double() - cuts, labels, threshold=0.0)
    return float(found.macro_F1), float(found.OF1)


def reliability(logits: Tensor, labels: Tensor, scaling: Calibration, bins: int = 15) -> tuple[float, float]:
    """Return the expected calibration error in percent, and the sum of probabilities over that of positives."""
    known = labels >= 0
    p, y = scaling.apply(logits).sigmoid()[known].double(), (labels[known] == POSITIVE).double()
    place = (p * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, p - y)
    return 100.0 * float(gaps.abs().sum()) / len(p), float(p.sum() / y.sum())


if __name__ == "__main__":
    sys.exit(main())
