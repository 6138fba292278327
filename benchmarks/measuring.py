"""How the benchmarks measure: candidates take turns, ratios are formed within a turn, spread is reported.

A machine that others use drifts. So whatever is compared is measured in the same round, one after the other, and
a figure is the median over rounds of the ratios within a round, with the smallest and the largest of them.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured line.

    Attributes:
        what: what was measured.
        value: median over rounds, in ``unit``.
        unit: such as ``epochs/s`` or ``ms``.
        against: what it is compared with; empty when it stands alone.
        ratio: median over rounds of how many times better than ``against``; None when it stands alone.
        low: smallest ratio of a round, or smallest value where there is no ratio.
        high: largest ratio of a round, or largest value.
        n: number of rounds.
    """

    what: str
    value: float
    unit: str
    against: str
    ratio: float | None
    low: float
    high: float
    n: int


def take_turns(
    candidates: Mapping[str, Callable[[], float]], *, rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Call every candidate once a round and return ``{name: one value a round}``; warm-up rounds are left out."""
    values: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, measure in candidates.items():
            value = measure()
            if number >= warmup:
                values[name].append(value)
    return values


def compared(
    what: str, unit: str, mine: Sequence[float], against: str, others: Sequence[float], *, smaller_is_better: bool
) -> Figure:
    """Return the figure of ``mine`` against ``others``, values of the same rounds in the same order."""
    pairs = zip(mine, others, strict=True)
    ratios = [other / own if smaller_is_better else own / other for own, other in pairs]
    middle = statistics.median(ratios)
    return Figure(what, statistics.median(mine), unit, against, middle, min(ratios), max(ratios), len(ratios))


def alone(what: str, unit: str, values: Sequence[float]) -> Figure:
    """Return a figure without a comparison."""
    return Figure(what, statistics.median(values), unit, "", None, min(values), max(values), len(values))


def seconds(work: Callable[[], Any]) -> float:
    """Return the wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Clock:
    """Wall time of calls, and beside it the processor time of this process and of the children that it waited for.

    On a machine that others use, or for code that fills all cores, processor time is the steadier figure: what
    a machine does in an hour is its cores over the processor time of one piece.

    Attributes:
        processor: seconds of each call so far.
    """

    def __init__(self) -> None:
        self.processor: list[float] = []

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return the wall time of one call, and note its processor time."""
        before = sum(os.times()[:4])
        spent = seconds(work)
        self.processor.append(sum(os.times()[:4]) - before)
        return spent


def seconds_each(work: Callable[[], Any], *, at_least: float) -> float:
    """Return the mean wall time of a call over as many calls as fill ``at_least`` seconds."""
    calls, spent = 1, seconds(work)
    while spent < at_least:
        more = max(1, min(10 * calls, int(1.2 * calls * (at_least - spent) / max(spent, 1e-9))))
        spent += seconds(lambda: [work() for _ in range(more)])  # noqa: B023 - called before `more` changes
        calls += more
    return spent / calls


def machine() -> str:
    """Return processor, cores, GPU and torch version in one line."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cpu}, {available_cores()} cores{gpu}, torch {torch.__version__.partition('+')[0]}"


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number_text(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 4
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"


def wide_console() -> Console:
    """Return a console that shows a table whole, also where there is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table(title=title, title_justify="left")
    for name in ("what", "value", "unit", "against", "ratio", "spread", "rounds"):
        right = name in ("value", "ratio", "spread", "rounds")
        table.add_column(name, justify="right" if right else "left", no_wrap=name in ("what", "spread"))
    for figure in figures:
        ratio = "" if figure.ratio is None else number_text(figure.ratio)
        spread = f"{number_text(figure.low)} to {number_text(figure.high)}"
        cells = (figure.what, number_text(figure.value), figure.unit, figure.against, ratio, spread, str(figure.n))
        table.add_row(*cells)
    console = wide_console()
    console.print(table)
    console.print(machine())


def write(figures: Sequence[Figure], file: Path | None) -> None:
    """Write the figures as JSON, or nothing without a file."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> list[Figure]:
    """Return the figures of a file that a benchmark wrote."""
    return [Figure(**{k: row[k] for k in Figure.__annotations__}) for row in json.loads(file.read_text("utf-8"))]
