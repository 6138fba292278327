"""How a driver's answers reach a crew: whole, in order, once."""

import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from plml.config import make_config
from tune import orders
from tune.crew import Orders
from tune.orders import OrderBook
from tune.trainable import Task


def task_of(key: str, **changes: object) -> Task:
    tree = make_config({"mode": "linear", "method": "role", "optim": {"lr": 3e-3}}).tree()
    return Task(tree, f"trials/{key}", key=key, **changes)  # type: ignore[arg-type]


def test_what_is_written_is_taken(tmp_path: Path) -> None:
    book = OrderBook(tmp_path / "orders")
    tasks = [task_of("0003"), task_of("0004", seeds=(1, 2), mode="min", metric="val/ranking_loss", gpus=0.5)]
    book.write("crew", 0, Orders(["0001", "0002"], tasks))
    taken = book.take("crew", 0)
    assert list(taken.stop) == ["0001", "0002"]
    assert [asdict(task) for task in taken.start] == [asdict(task) for task in tasks]
    assert taken.start[1].seeds == (1, 2)
    assert make_config(taken.start[0].tree).fingerprint == make_config(tasks[0].tree).fingerprint
    assert list(book.folder.iterdir()) == []


def test_nothing_to_do_is_an_answer_too(tmp_path: Path) -> None:
    book = OrderBook(tmp_path)
    book.write("crew", 0, Orders())
    taken = book.take("crew", 0)
    assert (list(taken.stop), list(taken.start)) == ([], [])


def test_answers_go_by_crew_and_number(tmp_path: Path) -> None:
    book = OrderBook(tmp_path)
    for crew in ("a", "b"):
        for number in range(3):
            book.write(crew, number, Orders([f"{crew}{number}"]))
    assert [list(book.take("b", number).stop) for number in (0, 1, 2)] == [["b0"], ["b1"], ["b2"]]
    assert list(book.take("a", 2).stop) == ["a2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.json", "a-1.json"]


def test_an_answer_may_come_late(tmp_path: Path) -> None:
    book = OrderBook(tmp_path / "orders")

    def answer() -> None:
        time.sleep(0.1)
        book.write("crew", 7, Orders(["0001"]))

    thread = threading.Thread(target=answer)
    thread.start()
    assert list(book.take("crew", 7).stop) == ["0001"]
    thread.join()


def test_no_answer_is_an_error_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PATIENCE_S", 0.05)
    book = OrderBook(tmp_path)
    book.write("crew", 0, Orders())
    with pytest.raises(TimeoutError, match=r"did not answer within 0.05 s: .*crew-1.json is missing"):
        book.take("crew", 1)
    book.take("crew", 0)
    with pytest.raises(TimeoutError):
        book.take("crew", 0)  # taken once


def test_the_book_is_removed_with_what_nobody_took(tmp_path: Path) -> None:
    book = OrderBook(tmp_path / "orders")
    book.remove()  # nobody was answered
    book.write("crew", 0, Orders())
    book.remove()
    assert not book.folder.exists()
