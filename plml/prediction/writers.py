"""What is written of each image: a row of CSV, or a JSON object. Rows go out as they come."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from torch import Tensor

from plml.errors import ConfigError, nearest
from plml.thresholds.file import Thresholds

FORMS = ("csv", "json", "jsonl")
SEPARATOR = ";"  # between the classes of an image, in CSV


class Prediction(NamedTuple):
    """An image that could be read."""

    file: Path
    probabilities: Tensor  # (L,)
    labels: Sequence[str] | None  # the classes that it has; None without thresholds


class LeftOut(NamedTuple):
    """An image that could not be read."""

    file: Path
    error: str


Write = Callable[[Prediction], None]


def printable(file: Path) -> str:
    r"""Return a file's name as text that UTF-8 can hold: bytes of it that are none are written ``\xe9``."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def form_of(path: Path) -> str:
    """Return the form that a file's name asks for; raise ConfigError if it is none of ours."""
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise ConfigError(f"--out must end in .csv, .json or .jsonl, got '{path}'{nearest(form, FORMS)}")
    return form


def predict_labels(
    logits: Tensor, names: Sequence[str], thresholds: Thresholds | None
) -> tuple[Tensor, list[str] | None]:
    """Return the probabilities of an image, (L,), and the classes that it has if there are thresholds."""
    if thresholds is None:
        return logits.sigmoid(), None
    chosen = thresholds.decide(logits).nonzero()[:, 0].tolist()
    return thresholds.probabilities(logits), [names[place] for place in chosen]


@contextmanager
def writing(stream: TextIO, form: str, names: Sequence[str], *, with_labels: bool) -> Iterator[Write]:
    """Give a function that writes one prediction; what belongs before and after all of them is written too.

    Args:
        stream: where to.
        form: one of :data:`FORMS`.
        names: the L classes.
        with_labels: whether predictions say which classes an image has.
    """
    if form == "csv":
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["image", *(["labels"] if with_labels else []), *names])

        def write_row(row: Prediction) -> None:
            labels = [SEPARATOR.join(row.labels or ())] if with_labels else []
            table.writerow([printable(row.file), *labels, *(f"{p:.6f}" for p in row.probabilities.tolist())])

        yield write_row
        return
    before, between, after = ("[\n", ",\n", "\n]\n") if form == "json" else ("", "\n", "")
    count = 0

    def write_object(row: Prediction) -> None:
        nonlocal count
        stream.write(between if count else before)
        stream.write(json.dumps(as_object(row, names), ensure_ascii=False))
        count += 1

    yield write_object
    stream.write(after if count and form == "json" else "[]\n" if form == "json" else "\n" if count else "")


def as_object(row: Prediction, names: Sequence[str]) -> dict[str, object]:
    """Return a prediction as JSON has it."""
    labels = {} if row.labels is None else {"labels": list(row.labels)}
    return {"image": printable(row.file), **labels, "probabilities": named(row.probabilities, names)}


def named(probabilities: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return probabilities (L,) by class, to six digits."""
    return {name: round(p, 6) for name, p in zip(names, probabilities.tolist(), strict=True)}


@contextmanager
def as_text(file: BinaryIO) -> Iterator[TextIO]:
    """Give a binary file as UTF-8 text, and leave it open."""
    text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        yield text
    finally:
        text.flush()
        text.detach()
