"""What an unfinished ``plml predict --out FILE`` has done so far: ``FILE.part``, from which the same command goes on.

The file has one JSON object a line: first what the rows belong to, then one row for each image in turn, also for those
that could not be read. Whoever dies leaves at most its last line broken, and that is cut off.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from plml.checkpoint import named
from plml.errors import DataError
from plml.prediction.writers import LeftOut, Prediction

if sys.platform != "win32":
    import fcntl

FORMAT = "plml-predict-1"
_START = b'{"format": "plml-predict-'


class KeptRows:
    """Rows in a file, kept one by one; closed at the end of a ``with`` block.

    Args:
        path: the file. Its rows are taken over if they belong to the same thing, and else deleted.
        belongs: what decides about rows: names in words -> digests.

    Attributes:
        count: rows in the file, of read and unread images.
        left_out: how many of them are of images that could not be read.
        differs: of ``belongs``, what was another thing for the rows that were deleted; empty if none were.

    Raises:
        DataError: another process writes to the file, or it is none of these.
    """

    def __init__(self, path: Path, belongs: Mapping[str, str]) -> None:
        self.path, self.count, self.left_out = path, 0, 0
        self.differs: list[str] = []
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        try:
            self._lock()
            self._take_over({"format": FORMAT, **belongs})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with named(self.path):  # what could not be written before cannot be now
            self._file.close()

    def add(self, row: Prediction | LeftOut) -> None:
        """Keep the row of the next image."""
        content: dict[str, Any] = {"image": str(row.file)}
        if isinstance(row, LeftOut):
            content |= {"error": row.error}
            self.left_out += 1
        else:
            # Six digits: as many as are written in the end.
            content |= {"labels": row.labels, "p": [round(p, 6) for p in row.probabilities.tolist()]}
        self._write(content)
        self.count += 1

    def predictions(self) -> Iterator[Prediction]:
        """Yield the rows of the images that could be read, in order."""
        self._file.seek(0)
        next(self._file)
        for line in self._file:
            row = json.loads(line)
            if "p" in row:
                yield Prediction(Path(row["image"]), torch.tensor(row["p"], dtype=torch.float64), row["labels"])

    def delete(self) -> None:
        """Delete the file: its rows are elsewhere, or there are none."""
        self.path.unlink(missing_ok=True)

    def _write(self, content: Mapping[str, Any]) -> None:
        with named(self.path):
            self._file.write(json.dumps(content).encode() + b"\n")
            self._file.flush()

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{self.path}: another process is writing it; wait for it, or give another --out") from None
        except OSError:
            return  # a file system without locks

    def _take_over(self, head: Mapping[str, str]) -> None:
        """Read what is there, cut off what is broken or belongs to something else, and stand at the end."""
        self._file.seek(0)
        first = self._file.readline()
        if first and not first.startswith(_START):
            raise DataError(f"{self.path}: is in the way, and no file of plml predict; move it, or give another --out")
        found = _parsed(first) or {}
        whole = len(first)
        if found == head:
            for line in self._file:
                row = _parsed(line)
                if row is None:
                    break
                whole += len(line)
                self.count += 1
                self.left_out += "error" in row
            self._file.truncate(whole)
        else:
            self.differs = [name for name in head if found and found.get(name) != head[name]]
            self._file.truncate(0)
            self._write(head)
        self._file.seek(0, os.SEEK_END)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the object of a whole line, or None."""
    if not line.endswith(b"\n"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
