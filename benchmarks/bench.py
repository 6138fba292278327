"""Run all benchmarks and write their tables and plots into docs/performance.md: ``make bench``.

    python benchmarks/bench.py                        everything; minutes
    python benchmarks/bench.py --quick                a look at everything; writes nothing into the page
    python benchmarks/bench.py --only linear_speed    one of them, the other tables stay
    python benchmarks/bench.py --data-root VOCdevkit --weights mobilenet_v2.safetensors

Each benchmark is a process of its own, one after the other, so that they do not disturb each other. Their JSON files
are kept in ``results/benchmarks``; those of a machine with a GPU stand beside those of a CPU, in that folder and in
the page.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import Figure, machine, number_text, read  # noqa: E402
from plml.commands.markdown_table import markdown  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
IMAGES = PAGE.parent / "images"


@dataclass(frozen=True)
class Benchmark:
    """One script of this folder.

    Attributes:
        script: its name without suffix.
        arguments: given always.
        takes: which of the options ``data-root`` and ``weights`` it has.
        plot: whether it has ``--plot``.
        requires: options without which it cannot run.
    """

    script: str
    arguments: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    plot: bool = False
    requires: tuple[str, ...] = ()


BENCHMARKS = {
    "floors": Benchmark("floors", takes=("data-root",)),
    "linear_speed": Benchmark("linear_speed", plot=True),
    "cole_grid": Benchmark("cole_grid", takes=("data-root", "weights"), requires=("data-root", "weights")),
    "classic_images": Benchmark("classic_loop", ("images",), takes=("data-root",)),
    "step_speed": Benchmark("step_speed"),
    "decode_speed": Benchmark("decode_speed", takes=("data-root",)),
    "metrics_speed": Benchmark("metrics_speed"),
    "study_overhead": Benchmark("study_overhead", ("--epochs", "10", "--rounds", "2", "--stock-trials", "4")),
    "ledger_cost": Benchmark("ledger_cost"),
    "search_efficiency": Benchmark("search_efficiency", plot=True),
}


@dataclass(frozen=True)
class Target:
    """What the project has set itself for some figures.

    Attributes:
        what: regular expression that the beginning of ``Figure.what`` matches.
        against: what ``Figure.against`` begins with.
        bounds: ``{cpu, cuda: bound}``.
        upper: the bound is one from above on the value; otherwise from below on the ratio.
    """

    what: str
    against: str
    bounds: Mapping[str, float]
    upper: bool = False

    def verdict(self, figure: Figure, kind: str) -> str | None:
        """Return the bound and whether the figure keeps it beyond its spread; None if it is about something else."""
        of_ratio = figure.ratio is not None
        apart = not re.match(self.what, figure.what) or not figure.against.startswith(self.against)
        if apart or kind not in self.bounds or of_ratio == self.upper:
            return None
        bound = self.bounds[kind]
        kept = figure.high <= bound if self.upper else figure.low >= bound
        missed = figure.low > bound if self.upper else figure.high < bound
        sign, unit = ("<=", f" {figure.unit}") if self.upper else (">=", "x")
        return f"{sign} {number_text(bound)}{unit}: {'met' if kept else 'missed' if missed else 'within the spread'}"


TARGETS = (
    Target(r"linear, batch \d+, population K=\d+", "classic loop, 4 workers", {"cpu": 40, "cuda": 1000}),
    Target(r"linear, batch \d+, population K=\d+", "classic loop, 0 workers", {"cpu": 7, "cuda": 500}),
    Target(r"linear, batch \d+, population K=\d+", "floor", {"cpu": 1 / 3, "cuda": 1 / 4}),
    Target(r"mAP, 40,000 x 80", "scikit-learn", {"cpu": 8, "cuda": 200}),
    Target(r"study of 100 linear trials.*overhead", "", {"cpu": 10, "cuda": 5}, upper=True),
    Target(r"cache to float batch", "PIL", {"cpu": 15}),
    Target(r".*, at trial 1,000", "at trial 100", {"cpu": 1 / 1.1}),
    Target(r"step, .*, fast$", "classic TF32", {"cuda": 3}),
)


def present() -> dict[str, Benchmark]:
    """Return the benchmarks whose script is there."""
    return {name: each for name, each in BENCHMARKS.items() if (ROOT / f"benchmarks/{each.script}.py").is_file()}


def command(name: str, out: Path, options: argparse.Namespace) -> list[str]:
    """Return the command that runs one benchmark."""
    benchmark = BENCHMARKS[name]
    line = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark.script}.py"), *benchmark.arguments]
    for option in benchmark.takes:
        value = getattr(options, option.replace("-", "_"))
        line += [f"--{option}", str(value)] if value else []
    if benchmark.plot and not options.quick:
        line += ["--plot", str(IMAGES / f"{name}{suffix()}.png")]
    return [*line, "--out", str(out), *(["--quick"] if options.quick else [])]


def suffix() -> str:
    """Return what tells files of a GPU machine from those of a CPU."""
    return "_gpu" if device_kind() == "cuda" else ""


def device_kind() -> str:
    """Return ``cuda`` or ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def told(figure: Figure, kind: str) -> str:
    """Return the verdict of the target that a figure has, or nothing."""
    return next((verdict for target in TARGETS if (verdict := target.verdict(figure, kind))), "")


def figures_table(figures: Sequence[Figure], kind: str) -> str:
    """Return the Markdown table of what one benchmark measured."""
    rows = []
    for figure in figures:
        spread = f"{number_text(figure.low)} to {number_text(figure.high)}"
        value = f"{number_text(figure.value)} {figure.unit}"
        rows.append([figure.what, value, figure.against, times(figure), spread, str(figure.n), told(figure, kind)])
    return markdown(["what", "value", "against", "ratio", "spread", "rounds", "target"], rows)


def block(name: str, folder: Path) -> str | None:
    """Return what stands between the markers of one benchmark, of every machine it ran on; None if it never ran."""
    parts = []
    for kind, ending in (("cpu", ""), ("cuda", "_gpu")):
        file = folder / f"{name}{ending}.json"
        if file.is_file():
            where = json.loads((folder / f"{name}{ending}.machine.json").read_text("utf-8"))
            parts.append(f"On {where['machine']}; {where['seconds']:.0f} s:\n\n{figures_table(read(file), kind)}")
            if (IMAGES / f"{name}{ending}.png").is_file():
                parts.append(f"![{name.replace('_', ' ')}](images/{name}{ending}.png)")
    if not parts:
        return None
    if not (folder / f"{name}_gpu.json").is_file():
        parts.append(f"On a GPU: not measured; run `python benchmarks/bench.py --only {name}` there.")
    return "\n\n".join(parts)


def summary(folder: Path) -> str | None:
    """Return the table of every figure that has a target; None if nothing was measured."""
    rows = []
    for kind, ending in (("cpu", ""), ("cuda", "_gpu")):
        for name in BENCHMARKS:
            file = folder / f"{name}{ending}.json"
            for figure in read(file) if file.is_file() else []:
                verdict = told(figure, kind)
                if verdict:
                    here = f"{number_text(figure.value)} {figure.unit}" if figure.ratio is None else times(figure)
                    spread = f"{number_text(figure.low)} to {number_text(figure.high)}"
                    rows.append([figure.what, figure.against, "GPU" if ending else "CPU", here, spread, verdict])
    return markdown(["what", "against", "on", "measured", "spread", "target"], rows) if rows else None


def times(figure: Figure) -> str:
    """Return the ratio of a figure, or nothing where it has none."""
    return "" if figure.ratio is None else f"{number_text(figure.ratio)}x"


def filled(page: str, folder: Path) -> str:
    """Return the page with every ``<!-- bench: NAME -->`` block rewritten from the files in ``folder``."""
    blocks = {"summary": summary(folder), **{name: block(name, folder) for name in BENCHMARKS}}
    for name, content in blocks.items():
        if content is not None:
            marker = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            page = marker.sub(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", page)  # type: ignore[misc]
    return page


def run(name: str, folder: Path, options: argparse.Namespace, console: Console) -> bool:
    """Run one benchmark; return whether it ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{name}{suffix()}.json"
    missing = [option for option in BENCHMARKS[name].requires if not getattr(options, option.replace("-", "_"))]
    if missing:
        console.print(f"{name}: left out, it needs --{' and --'.join(missing)}")
        return True
    console.rule(name)
    began = time.monotonic()
    code = subprocess.run(command(name, out, options), check=False, cwd=ROOT).returncode  # noqa: S603
    if code:
        console.print(f"[red]{name} ended with exit code {code}[/red]")
        return False
    facts: dict[str, Any] = {"machine": machine(), "seconds": time.monotonic() - began}
    out.with_suffix(".machine.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    return True


def main() -> int:
    """Run what was asked for and write the page; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=sorted(present()), metavar="NAME", help=f"{', '.join(present())}"
    )
    parser.add_argument("--quick", action="store_true", help="each in under half a minute; the page stays as it is")
    parser.add_argument("--data-root", type=Path, help="folder that holds VOCdevkit; default: made-up photos")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of MobileNetV2, for cole_grid")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results" / "benchmarks", help="folder of the JSON files"
    )
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page from the JSON files")
    options = parser.parse_args()
    options.data_root = options.data_root and options.data_root.absolute()
    options.weights = options.weights and options.weights.absolute()
    console = Console(highlight=False)
    folder = options.results / "quick" if options.quick else options.results
    names = [] if options.page_only else options.only or list(present())
    failed = [name for name in names if not run(name, folder, options, console)]
    if not options.quick:
        PAGE.write_text(filled(PAGE.read_text("utf-8"), folder), encoding="utf-8")
        console.print(f"tables: {PAGE}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
