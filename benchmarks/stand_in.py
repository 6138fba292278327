"""A trial that trains nothing and takes as long as it is told: it writes and reports what a real one would.

Imports nothing heavy, so that 64 of them fit on a small machine.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

FIGURES = 25  # of an epoch's report of a real trial


def stand_in(config: dict[str, Any], site: object) -> None:
    """Report ``epochs`` epochs of ``PLML_STAND_IN_S`` seconds each to the driver."""
    from ray.tune import report

    del site  # it is on the driver's machine
    task = config["task"]
    folder, epochs, epoch_s = Path(task["folder"]), task["tree"]["epochs"], float(os.environ["PLML_STAND_IN_S"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker.txt").write_text(str(os.getpid()))
    draw = random.Random(task["key"])  # noqa: S311 # nosec B311 - figures that look like figures
    best = 0.0
    for epoch in range(epochs):
        time.sleep(epoch_s * draw.uniform(0.8, 1.2))
        best = max(best, draw.uniform(0, 100))
        metrics = {f"val/figure_{place:02d}": draw.uniform(0, 100) for place in range(FIGURES - 1)}
        final = epoch + 1 == epochs
        row = {"epoch": epoch, "metrics": {**metrics, "selection/best": best}, "time": time.time(), "final": final}
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
        told = {"outcome": "complete" if final else "running", "epoch": epoch, "objective": best}
        report({**told, "earlier": [], "detail": "", "key": task["key"]})
