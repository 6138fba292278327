"""Grids whose runs are drawn, not trained: figures with known effects, and real test scores in run folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ablations.outcome import CellOutcome, GridOutcome, RunOutcome, TrialOutcome
from plml.metrics import average_precision

CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle")


def write_run(folder: Path, name: str, skill: float, seed: int, draw: int, *, images: int = 150) -> RunOutcome:
    """A run whose logits find positives the better the larger ``skill``; all runs share the test images."""
    import torch

    labels = (np.random.default_rng(7).random((images, len(CLASSES))) < 0.25).astype(np.int8)
    labels[:3, 0] = -1
    noise = np.random.default_rng([seed, draw, sum(name.encode())]).normal(size=labels.shape)
    scores = (noise + (skill + 0.05 * seed + 0.1 * draw) * (labels == 1)).astype(np.float32)
    place = folder / f"{name}-{seed}-{draw}"
    (place / "scores").mkdir(parents=True)
    np.save(place / "scores" / "test.npy", scores)
    np.save(place / "scores" / "test_labels.npy", labels)
    aps = 100 * average_precision(torch.from_numpy(scores), torch.from_numpy(labels), known_only=True)
    metrics = {"test/mAP": float(aps.mean()), "val/mAP": float(aps.mean()) - 1.0}
    return RunOutcome(seed, draw, f"{name}{seed}{draw}", place, metrics, 3, tuple(aps.tolist()))


def draw_trials(skill: float, number: int, seed: int) -> tuple[TrialOutcome, ...]:
    generator = np.random.default_rng(seed)
    objectives = skill * 10 + generator.normal(0, 3, number)
    tests = objectives + 30 + generator.normal(0, 1, number)
    return tuple(
        TrialOutcome(f"t{i}", float(o), float(t), complete=i % 7 != 6)
        for i, (o, t) in enumerate(zip(objectives, tests, strict=True))
    )


@pytest.fixture(scope="session")
def two_factors(tmp_path_factory: pytest.TempPathFactory) -> GridOutcome:
    """Loss x BoostLU, 3 seeds x 2 label draws, tuned for each cell; one run is missing."""
    folder = tmp_path_factory.mktemp("runs")
    cells = []
    for loss, skill in (("an", 0.8), ("ll_r", 1.2), ("ll_ct", 1.25)):
        for boost, more in (("off", 0.0), ("on", 0.4)):
            runs = [
                write_run(folder, f"{loss}{boost}", skill + more, seed, draw) for seed in range(3) for draw in (0, 1)
            ]
            kept = runs[:-1] if (loss, boost) == ("ll_ct", "on") else runs
            cells.append(
                CellOutcome(
                    label=f"{loss}, {boost}",
                    levels={"loss": loss, "boostlu": boost},
                    runs=tuple(kept),
                    planned=6,
                    trials=draw_trials(skill + more, 16, seed=len(cells)),
                    values={"optim.lr": 10.0 ** -(2 + len(cells) % 2)},
                )
            )
    return GridOutcome(
        name="boostlu_ll",
        description="BoostLU on losses that correct large losses.",
        factors=("loss", "boostlu"),
        cells=tuple(cells),
        baseline="an, off",
        selected_by="map on observed labels",
        clean=False,
        class_names=CLASSES,
        trials_per_cell=16,
        columns="boostlu",
    )


@pytest.fixture(scope="session")
def across_settings() -> GridOutcome:
    """Five losses in six label settings, one label draw, 4 seeds, no scores kept, selected on clean labels."""
    generator = np.random.default_rng(3)
    cells = []
    for setting in ("single_positive", "known_10%", "known_50%", "candidates", "biased", "size_biased"):
        for i, loss in enumerate(("an", "an_ls", "wan", "epr", "role")):
            values = 60 + 2 * i + generator.normal(0, 1) + generator.normal(0, 0.4, 4)
            runs = tuple(
                RunOutcome(s, 1200, f"{setting}{loss}{s}", Path("none"), {"test/mAP": float(v)}, 5)
                for s, v in enumerate(values)
            )
            cells.append(CellOutcome(f"{setting}, {loss}", {"setting": setting, "loss": loss}, runs, planned=4))
    return GridOutcome(
        name="losses",
        description="Losses of Cole et al. in six label settings",
        factors=("setting", "loss"),
        cells=tuple(cells),
        baseline="single_positive, an",
        selected_by="map on clean labels",
        clean=True,
        class_names=(),
        blocks="setting",
        columns="setting",
    )


@pytest.fixture(scope="session")
def make_grid() -> Callable[[dict[str, dict[tuple[int, int], float]]], GridOutcome]:
    """A grid of one factor from ``{cell: {(seed, draw): mAP}}``; the first cell is the baseline."""

    def make(figures: dict[str, dict[tuple[int, int], float]]) -> GridOutcome:
        most = max(map(len, figures.values()))
        cells = tuple(
            CellOutcome(
                label=name,
                levels={"method": name},
                runs=tuple(
                    RunOutcome(*pair, f"{name}{pair}", Path("none"), {"test/mAP": v}, 0) for pair, v in runs.items()
                ),
                planned=most,
            )
            for name, runs in figures.items()
        )
        return GridOutcome(
            "small", "", ("method",), cells, next(iter(figures)), "map on observed labels", False, ("a", "b")
        )

    return make
