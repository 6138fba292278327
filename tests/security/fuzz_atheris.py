"""Fuzz one target, guided by the branches of plml that are reached: ``python fuzz_atheris.py TARGET [SECONDS]``.

Needs atheris (``pip install atheris``), which is no dependency. Prints what was run; a crash ends it with a traceback
and leaves the content in a file ``crash-*`` in the current folder.
"""

import sys
import tempfile
from pathlib import Path

import atheris

PACKAGES = ["plml", "tune", "ablations"]

with atheris.instrument_imports(include=PACKAGES):
    from fuzz_targets import TARGETS


def main() -> int:
    """Fuzz until the time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.stderr.write(f"usage: fuzz_atheris.py TARGET [SECONDS]; targets: {', '.join(sorted(TARGETS))}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="plml-fuzz-") as folder:
        (Path(folder) / "data").mkdir()
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        with atheris.instrument_imports(include=PACKAGES):  # a target imports what it needs when it is built
            target = TARGETS[sys.argv[1]](Path(folder) / "data")
        for number, seed in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(seed)
        limits = [
            f"-max_total_time={sys.argv[2] if len(sys.argv) > 2 else 60}",
            "-print_final_stats=1",
            "-rss_limit_mb=0",
        ]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda content: target.execute(content) and None)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
