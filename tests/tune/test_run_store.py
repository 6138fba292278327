"""A store of runs: whatever is put last, a run that training can go on from can be got."""

from pathlib import Path
from typing import Any

import pytest
import torch

from plml.errors import ConfigError
from plml.run_record import RunRecord
from plml.storage import storage_trouble
from tune import run_store
from tune.run_store import OwnerError, RunStore

RUN, OWNER = "trials/0001", "worker"
BESTS = [0, 0, 2, 3, 3, 5, 5, 7]  # which epoch is the best after each


class Killed(BaseException):
    """The end of a process."""


class Mortal(RunStore):
    """Dies before a file operation."""

    left = 10**6

    def _put_file(self, source: Path, path: str) -> None:
        self._live()
        super()._put_file(source, path)

    def _rename(self, path: str, to: str) -> None:
        self._live()
        super()._rename(path, to)

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def train(folder: Path, epochs: range) -> None:
    """Write the records of some epochs."""
    record = RunRecord(folder)
    record.open(torch.device("cpu"), lambda _: None)
    for epoch in epochs:
        best = {"epoch": epoch} if BESTS[epoch] == epoch else None
        record.write({"epoch": epoch, "finished": False, "stop_rule": {"best_epoch": BESTS[epoch]}}, best)
        with (folder / "metrics.jsonl").open("a") as lines:
            lines.write(f"{epoch}\n")


def gone_on_from(store: RunStore, folder: Path) -> tuple[dict[str, Any] | None, int]:
    """Get the run as another machine would; return its record and the epoch of its weights."""
    store.get(RUN, store.listing(RUN), folder)
    record = RunRecord(folder)
    found = record.open(torch.device("cpu"), lambda _: None)
    return found, record.read_best()["epoch"] if found else -1


@pytest.mark.parametrize("skipped", [1, 2, 4])
@pytest.mark.parametrize("dies_after", range(8))
def test_a_worker_may_die_at_any_file(tmp_path: Path, skipped: int, dies_after: int) -> None:
    url = f"file://{tmp_path}/store"
    here = tmp_path / "here"
    here.mkdir()
    store, known = Mortal(url), {}  # type: ignore[var-annotated]
    store.claim(RUN, OWNER)
    train(here, range(2))
    store.put(RUN, here, known, OWNER)
    train(here, range(2, 2 + skipped))
    store.left = dies_after
    try:
        store.put(RUN, here, known, OWNER)
        expected = {1 + skipped}
    except Killed:
        expected = {1, 1 + skipped}
    found, weights = gone_on_from(RunStore(url), tmp_path / "there")
    assert found is not None
    assert found["epoch"] in expected
    assert weights == BESTS[found["epoch"]]
    # It goes on there, and is put from there.
    store, known = Mortal(url), run_store.stamps(tmp_path / "there")
    store.claim(RUN, "another")
    train(tmp_path / "there", range(found["epoch"] + 1, len(BESTS)))
    store.put(RUN, tmp_path / "there", known, "another")
    found, weights = gone_on_from(RunStore(url), tmp_path / "end")
    assert found is not None
    assert (found["epoch"], weights) == (len(BESTS) - 1, BESTS[-1])
    assert "best.pt.next" not in store.listing(RUN)


def test_who_was_believed_dead_puts_nothing_more(tmp_path: Path) -> None:
    store, folder = RunStore(f"file://{tmp_path}/store"), tmp_path / "here"
    folder.mkdir()
    store.claim(RUN, OWNER)
    train(folder, range(1))
    store.claim(RUN, "another")
    with pytest.raises(OwnerError, match="taken over by another worker"):
        store.put(RUN, folder, {}, OWNER)
    assert store.listing(RUN) == {}


def test_only_what_changed_is_put_and_light_leaves_records_alone(tmp_path: Path) -> None:
    store, folder, known = Mortal(f"file://{tmp_path}/store"), tmp_path / "here", {}  # type: ignore[var-annotated]
    folder.mkdir()
    store.claim(RUN, OWNER)
    train(folder, range(2))
    (folder / ".alive").write_text("{}")
    store.put(RUN, folder, known, OWNER, light=True)
    assert set(store.listing(RUN)) == {"metrics.jsonl"}
    store.put(RUN, folder, known, OWNER)
    assert set(store.listing(RUN)) == {"metrics.jsonl", "last.pt", "best.pt"}
    store.left = 0
    store.put(RUN, folder, known, OWNER)  # nothing to do


def test_a_store_that_is_away_is_the_storages_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "PAUSES_S", (0.0,))
    store = RunStore(f"file://{tmp_path}/store")
    store.claim(RUN, OWNER)
    calls = []

    def away(path: str, **options: Any) -> None:
        calls.append(path)
        raise ConnectionResetError("no route")

    monkeypatch.setattr(store.files, "find", away)
    with pytest.raises(OSError, match="no route") as caught:
        store.listing(RUN)
    assert len(calls) == 2
    assert storage_trouble(caught.value) is not None


@pytest.mark.parametrize(
    ("url", "rule"), [("memory://runs", "cannot see this memory"), ("nothing://runs", "Protocol not known")]
)
def test_urls_that_cannot_be_used(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        RunStore(url)
