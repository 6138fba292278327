"""Cole et al.'s grid of 56 configurations as the shipped study ``cole_grid``: wall time, and what each loss reaches.

    python benchmarks/cole_grid.py --data-root VOCdevkit --weights mobilenet_v2.safetensors --out cole_grid.json

Runs ``python tune/run.py --study cole_grid`` twice in a fresh output folder: with an empty cache, so that photos are
decoded and features extracted, and again with the cache that this leaves. Times are from the command to its end,
leaderboard, figures and MLflow included. The classic loop is timed in the same run on features of the same size, whole
epochs at both batch sizes; the time it would take for the grid follows from that.

Test mAP is that of the configuration which validation mAP chose, for each loss. ``SCRIPT`` holds what the field's
released script reached and took on the 2,331 photos of VOC 2007 that the project measures with, on 2 cores.
"""

import argparse
import csv
import sys
import tempfile
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_loop import linear_run, random_features  # noqa: E402
from benchmarks.measuring import Figure, alone, compared, seconds, show, write  # noqa: E402
from benchmarks.study_overhead import quietly  # noqa: E402

SCRIPT = {"bce": 73.1, "bce_ls": 72.2, "an": 68.2, "an_ls": 66.3, "wan": 69.8, "epr": 69.8, "role": 65.9}
SCRIPT_SECONDS = 1338
SIZES = {"train": 1239, "val": 310, "test": 782}
DIM, CLASSES, RATES, EPOCHS, BATCHES = 1280, 20, 4, 25, (8, 16)


def run_study(scratch: Path, options: argparse.Namespace) -> tuple[float, list[dict[str, str]]]:
    """Run the study once and return its wall time in seconds and its leaderboard."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    paths = {"data.root": options.data_root.absolute(), "model.weights": options.weights.absolute()}
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", "cole_grid", "--output-dir", str(folder)]
    for path, value in {**paths, **({"epochs": 1} if options.quick else {})}.items():
        command += ["--set", f"{path}={value}"]
    command += ["--trials", "4"] if options.quick else []
    spent = seconds(lambda: quietly(command, scratch / "log", scratch))
    with (folder / "cole_grid" / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        return spent, list(csv.DictReader(file))


def chosen(rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return ``{method: its best row}``; the leaderboard is in the order of the objective."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["state"] == "COMPLETE":
            found.setdefault(row["method"], row)
    return found


def classic_seconds() -> float:
    """Return what the classic loop would take for the grid, by one epoch at each batch size, after one to warm up."""
    data = random_features(SIZES, DIM, CLASSES)
    total = 0.0
    for batch in BATCHES:
        run = linear_run(data, loss="an", batch_size=batch, workers=4)
        run.epoch()
        total += len(SCRIPT) * RATES * EPOCHS * seconds(run.epoch)
    return total


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds VOCdevkit")
    parser.add_argument("--weights", type=Path, required=True, help="ImageNet weights of MobileNetV2")
    parser.add_argument("--rounds", type=int, default=1, help="of the study with a warm cache")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the cache here, and use what it has")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="4 configurations, 1 epoch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # On fewer than four cores torch advises against four workers; the scripts have four all the same.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (scratch / "cache").symlink_to(options.keep.absolute())
        cold, rows = run_study(scratch, options)
        warm, classic = [], []
        for _ in range(options.rounds):
            spent, rows = run_study(scratch, options)
            warm.append(spent)
            classic.append(classic_seconds())
    what = "grid of 56, from the command to its end"
    figures.append(
        alone(f"{what}, decoding and extracting included" if not options.keep else f"{what}, first", "s", [cold])
    )
    name = f"{what}, features in the cache"
    figures.append(compared(name, "s", warm, "classic loop, 4 workers, extrapolated", classic, smaller_is_better=True))
    figures.append(alone(f"the field's script, measured beforehand ({SCRIPT_SECONDS:,} s)", "s", [SCRIPT_SECONDS]))
    for method, row in chosen(rows).items():
        value = float(row["test/mAP"])
        setting = f"batch {row['optim.batch_size']}, rate {float(row['optim.lr']):g}"
        against = f"the field's script: {SCRIPT[method]}"
        figures.append(Figure(f"test mAP of {method} ({setting})", value, "%", against, None, value, value, 1))
    show("Cole's grid", figures)
    write(figures, options.out)


if __name__ == "__main__":
    main()
