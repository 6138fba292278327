"""The record of a run with the weights that it chose, and both as they were one record before.

====================  =======================================================================================
``last.pt``           the record: all that the run needs to go on
``best.pt``           the weights of the epoch that ``last.pt`` says is the best
``previous.pt``       the record before
``best.previous.pt``  the weights that go with that one, if they are others
``best.pt.next``      weights that are whole, and wait for the record that names their epoch
====================  =======================================================================================

A file that was damaged since it was written says so by its digest. Then the run goes on from the record before and
trains again what is missing; if that one cannot be used either, it begins anew. Nothing that was damaged, or is of no
use without what was, is deleted: it is moved to ``damaged``.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from plml.checkpoint import load_checkpoint, save_checkpoint
from plml.errors import DamagedError

logger = logging.getLogger(__name__)

LAST, BEFORE = "last.pt", "previous.pt"
BEST, BEST_BEFORE, BEST_NEXT = "best.pt", "best.previous.pt", "best.pt.next"
ASIDE = "damaged"

Record = dict[str, Any]


class RunRecord:
    """The files of one run folder that training goes on from.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best_epoch: int | None = None  # whose weights best.pt holds, or best.pt.next before the record is written

    @property
    def exists(self) -> bool:
        """Whether there is a record, whole or not."""
        return any((self.folder / name).exists() for name in (LAST, BEFORE))

    def open(self, device: torch.device, check: Callable[[Record | None], None]) -> Record | None:
        """Return the newest record that the run can go on from, None if there is none; set aside what is damaged.

        Args:
            device: where its tensors go.
            check: raises what is wrong with a record that is whole, before any file is touched; it gets None if no
                record can be used.
        """
        damage: dict[str, str] = {}  # file -> what is wrong with it
        bests: dict[str, int] = {}  # file -> the epoch whose weights it holds
        if not self.exists:
            return None
        for name in (BEST_NEXT, BEST, BEST_BEFORE):
            best = self._load(name, torch.device("cpu"), damage)
            if best is not None:
                bests[name] = best["epoch"]
        for name in (LAST, BEFORE):
            record = self._load(name, device, damage)
            if record is None:
                continue
            check(record)
            wanted = record.get("best_epoch", record["stop_rule"]["best_epoch"])
            chosen = next((file for file, epoch in bests.items() if epoch == wanted), None)
            if chosen is None and not (record["finished"] and not bests and not damage):  # somebody made room
                damage[name] = f"{self.folder / name} needs the weights of epoch {wanted}, which are not there"
                continue
            self._go_on_from(name, chosen, damage)
            self.best_epoch = wanted
            return record
        check(None)
        self._begin_anew(damage)
        return None

    def write(self, content: Mapping[str, Any], best: Mapping[str, Any] | None) -> None:
        """Write a record, and before it the weights of the epoch that it names as the best if they are new.

        Every file is whole whenever it has its name, so a process may die anywhere in between: :meth:`open` finds a
        record and the weights that go with it.
        """
        if best is not None:
            save_checkpoint(self.folder / BEST_NEXT, dict(best))
            self.best_epoch = best["epoch"]
        record = {**content, "best_epoch": self.best_epoch}
        save_checkpoint(self.folder / LAST, record, keep=self.folder / BEFORE)
        if best is None:
            (self.folder / BEST_BEFORE).unlink(missing_ok=True)  # both records go with best.pt
            return
        self._take_over()

    def read_best(self) -> Record:
        """Return the weights of the best epoch.

        Raises:
            DamagedError: they were damaged since the run was opened; opening it again goes on from what is whole.
        """
        return load_checkpoint(self.folder / BEST)

    def _load(self, name: str, device: torch.device, damage: dict[str, str]) -> Record | None:
        if not (self.folder / name).exists():
            return None
        try:
            return load_checkpoint(self.folder / name, device)
        except DamagedError as error:
            damage[name] = str(error)
            return None

    def _go_on_from(self, name: str, chosen: str | None, damage: Mapping[str, str]) -> None:
        """Make ``name`` the last record and ``chosen`` its weights."""
        aside = {file: reason for file, reason in damage.items() if (self.folder / file).exists()}
        if aside:
            what = "the record before it" if name == BEFORE else name
            self._set_aside(aside, f"the run goes on from {what}")
        if chosen == BEST_NEXT:
            self._take_over()
        elif chosen == BEST_BEFORE:
            (self.folder / BEST_BEFORE).replace(self.folder / BEST)
        if name == BEFORE:
            (self.folder / BEFORE).replace(self.folder / LAST)
        # Weights of an epoch that no record names: it will be trained again.
        (self.folder / BEST_NEXT).unlink(missing_ok=True)

    def _take_over(self) -> None:
        """Let the weights that wait become the best, and the best those that go with the record before."""
        with suppress(FileNotFoundError):
            (self.folder / BEST).replace(self.folder / BEST_BEFORE)
        (self.folder / BEST_NEXT).replace(self.folder / BEST)

    def _begin_anew(self, damage: Mapping[str, str]) -> None:
        files = {name: damage.get(name, "") for name in (LAST, BEFORE, BEST, BEST_BEFORE, BEST_NEXT)}
        self._set_aside(
            {name: reason for name, reason in files.items() if (self.folder / name).exists()}, "the run begins anew"
        )

    def _set_aside(self, files: Mapping[str, str], consequence: str) -> None:
        """Move files to ``damaged`` under names that are free."""
        reasons = "; ".join(reason for reason in files.values() if reason)
        logger.warning("%s; %s, and what cannot be used is kept in %s", reasons, consequence, self.folder / ASIDE)
        for name in files:
            set_aside(self.folder / name)


def set_aside(file: Path) -> None:
    """Move ``file`` to ``damaged`` beside it, under a name that is free."""
    folder = file.parent / ASIDE
    folder.mkdir(exist_ok=True)
    places = (folder / (file.name if number == 0 else f"{file.name}.{number}") for number in range(10**6))
    file.replace(next(place for place in places if not place.exists()))
