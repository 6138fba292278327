"""What the ledger of a study of 10,000 trials costs: a trial, to open it again, and to ask TPE what to try next.

    python benchmarks/scale_ledger.py --out scale_ledger.csv --figure docs/images/scale_ledger.svg

Trials report 25 epochs and train nothing, as in :mod:`benchmarks.ledger_cost`. At some sizes the ledger is opened again
by another driver, which asks TPE for a few trials.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import optuna
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.ledger_cost import Trials, make_study  # noqa: E402
from tune.folders import StudyFolder  # noqa: E402
from tune.ledger import Ledger  # noqa: E402

SIZES = (100, 500, 1000, 2000, 5000, 10_000)
ASKS = 9


@dataclass(frozen=True)
class Stage:
    """A ledger of some size.

    Attributes:
        trials: it has.
        trial_ms: the driver's time for one more, draws at random, median of the last tenth.
        open_s: to open it.
        tpe_ms: until TPE has drawn the next, median.
        journal_mib: on disk.
        rss_mib: memory of the process that fills it.
    """

    trials: int
    trial_ms: float
    open_s: float
    tpe_ms: float
    journal_mib: float
    rss_mib: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line for each size, write the figures and draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, metavar="CSV")
    parser.add_argument("--figure", type=Path, metavar="SVG")
    parser.add_argument("--trials", type=int, default=SIZES[-1])
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        stages = measure(Path(folder) / "s", [size for size in SIZES if size <= options.trials])
    if options.out:
        with options.out.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, [each.name for each in fields(Stage)])
            writer.writeheader()
            writer.writerows(map(asdict, stages))
    if options.figure:
        draw(stages, options.figure)


def measure(folder: Path, sizes: Sequence[int]) -> list[Stage]:
    """Fill a ledger and look at it at each of the sizes."""
    filled = Trials(folder, make_study("s", "random", "none", sizes[-1]))
    stages: list[Stage] = []
    times: list[float] = []
    print("  trials   a trial, ms   opening, s   TPE's draw, ms   journal, MiB   memory, MiB")  # noqa: T201
    for size in sizes:
        while len(times) < size:
            times.append(filled.one())
        filled.ledger.optuna.get_trials(deepcopy=False)  # the journal is on disk
        open_s, tpe_ms = reopened(folder, size)
        stages.append(
            Stage(
                size,
                1e3 * statistics.median(times[-max(10, size // 10) :]),
                open_s,
                tpe_ms,
                filled.ledger.folder.journal.stat().st_size / 2**20,
                psutil.Process().memory_info().rss / 2**20,
            )
        )
        _, *figures = asdict(stages[-1]).values()
        print(f"{size:8}" + "".join(f"{figure:14.2f}" for figure in figures))  # noqa: T201
    return stages


def reopened(folder: Path, trials: int) -> tuple[float, float]:
    """Return the seconds to open a copy of the ledger, and the milliseconds of a draw by TPE there."""
    with tempfile.TemporaryDirectory() as copy:
        where = StudyFolder(Path(copy) / "s")
        where.path.mkdir()
        for file in folder.iterdir():
            if file.is_file():
                (where.path / file.name).write_bytes(file.read_bytes())
        began = time.perf_counter()
        ledger = Ledger(make_study("s", "tpe", "none", trials + ASKS), where, str(where.journal), trials + ASKS)
        open_s = time.perf_counter() - began
        asked = []
        for _ in range(ASKS):
            began = time.perf_counter()
            ledger.ask_many(1)
            asked.append(1e3 * (time.perf_counter() - began))
    return open_s, statistics.median(asked)


def draw(stages: Sequence[Stage], file: Path) -> None:
    """Draw times and sizes over the number of trials."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    sizes = [stage.trials for stage in stages]
    left.plot(sizes, [stage.trial_ms for stage in stages], "o-", label="a trial, drawn at random, ms")
    left.plot(sizes, [stage.tpe_ms for stage in stages], "o-", label="a draw by TPE, ms")
    left.plot(sizes, [stage.open_s for stage in stages], "o-", label="opening the ledger, s")
    right.plot(sizes, [stage.journal_mib for stage in stages], "o-", label="journal")
    right.plot(sizes, [stage.rss_mib for stage in stages], "o-", label="memory of the process")
    right.set(ylabel="MiB")
    for axes in (left, right):
        axes.set(xlabel="trials in the ledger", ylim=(0, None), xlim=(0, None))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


if __name__ == "__main__":
    main()
