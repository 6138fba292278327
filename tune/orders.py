"""How the driver answers a crew: a small file an answer, in the study's folder, which its workers share anyway."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from plml.checkpoint import write_whole
from tune.crew import Orders
from tune.trainable import Task

PATIENCE_S = 120.0  # a shared file system may show a new file late
LOOK_EVERY_S = 0.002


class OrderBook:
    """Answers to the crews of one launch, numbered in the order of their reports.

    Args:
        folder: of this launch; made by the driver, removed with everything in it at its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, crew: str, number: int, orders: Orders) -> None:
        """Answer report ``number`` of a crew."""
        tree = {"stop": list(orders.stop), "start": [asdict(task) for task in orders.start]}
        text = json.dumps(tree).encode()
        write_whole(self.folder / f"{crew}-{number}.json", lambda file: file.write(text), sync=False)

    def remove(self) -> None:
        """Remove the folder; a worker that still waits for an answer is being stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, crew: str, number: int) -> Orders:
        """Wait for the answer to report ``number`` and remove it; raise TimeoutError if there is none."""
        file = self.folder / f"{crew}-{number}.json"
        until = time.monotonic() + PATIENCE_S
        while not file.is_file():
            if time.monotonic() > until:
                raise TimeoutError(f"the driver did not answer within {PATIENCE_S:g} s: {file} is missing")
            time.sleep(LOOK_EVERY_S)
        tree = json.loads(file.read_text(encoding="utf-8"))
        file.unlink(missing_ok=True)
        return Orders(tree["stop"], [Task(**{**task, "seeds": tuple(task["seeds"])}) for task in tree["start"]])
