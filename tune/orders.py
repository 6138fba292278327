"""How the driver answers a crew: a small file an answer on one machine, a letter through Ray on several."""

import json
import shutil
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from plml.checkpoint import write_whole
from plml.heartbeat import beat
from tune.crew import Orders
from tune.mail import drop_letter, drop_letters, put_letter, read_letter
from tune.trainable import Task

PATIENCE_S = 120.0  # a driver that stores much at once answers late
LOOK_EVERY_S = 0.002
SELDOM_S = 0.05  # between two looks into a far letter box, once an answer takes long
BY_RAY = "ray:"


class Book(Protocol):
    """Answers to the crews of one launch, numbered in the order of their reports."""

    @property
    def address(self) -> str:
        """Where workers find it; see :func:`open_orders`."""

    def write(self, crew: str, number: int, orders: Orders) -> None:
        """Answer report ``number`` of a crew."""

    def take(self, crew: str, number: int) -> Orders:
        """Wait for the answer to report ``number`` and remove it; raise TimeoutError if there is none."""

    def remove(self) -> None:
        """Remove what nobody took; a worker that still waits for an answer is being stopped."""


def order_book(folder: Path, *, shared: bool) -> Book:
    """Return the book of a new launch: files if all workers are on this machine, which is quickest.

    Args:
        folder: for the files.
        shared: all workers are on this machine.
    """
    return OrderBook(folder) if shared else RayOrderBook(f"orders-{uuid.uuid4().hex}")


def open_orders(address: str) -> Book:
    """Return the book that a driver writes."""
    if address.startswith(BY_RAY):
        return RayOrderBook(address.removeprefix(BY_RAY))
    return OrderBook(Path(address))


class OrderBook:
    """Answers to the crews of one launch, numbered in the order of their reports.

    Args:
        folder: of this launch; made by the driver, removed with everything in it at its end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.folder)

    def write(self, crew: str, number: int, orders: Orders) -> None:
        """Answer report ``number`` of a crew."""
        text = _as_text(orders)
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
        orders = _from_text(file.read_bytes())
        file.unlink(missing_ok=True)
        return orders


class RayOrderBook:
    """Answers through Ray's head, to machines that may not share a folder, or see new files in it late.

    Args:
        name: of this launch's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def address(self) -> str:
        """The name, marked as one."""
        return BY_RAY + self.name

    def write(self, crew: str, number: int, orders: Orders) -> None:
        """Answer report ``number`` of a crew."""
        put_letter(f"{self.name}/{crew}-{number}", _as_text(orders))

    def remove(self) -> None:
        """Remove all letters."""
        drop_letters(f"{self.name}/")

    def take(self, crew: str, number: int) -> Orders:
        """Wait for the answer to report ``number`` and remove it; raise TimeoutError if there is none."""
        letter, pause = f"{self.name}/{crew}-{number}", LOOK_EVERY_S
        until = time.monotonic() + PATIENCE_S
        while (text := read_letter(letter)) is None:
            if time.monotonic() > until:
                raise TimeoutError(f"the driver did not answer within {PATIENCE_S:g} s: {letter} is missing")
            beat()
            time.sleep(pause)
            pause = min(2 * pause, SELDOM_S)
        drop_letter(letter)
        return _from_text(text)


def _as_text(orders: Orders) -> bytes:
    return json.dumps({"stop": list(orders.stop), "start": [asdict(task) for task in orders.start]}).encode()


def _from_text(text: bytes) -> Orders:
    tree = json.loads(text)
    return Orders(tree["stop"], [Task(**{**task, "seeds": tuple(task["seeds"])}) for task in tree["start"]])
