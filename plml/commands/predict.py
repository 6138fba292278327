"""``plml predict``: class names and probabilities of images, from a checkpoint."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from plml.checkpoint import write_whole
from plml.cli import DONE, FAILED
from plml.errors import ConfigError, DataError
from plml.prediction.stream import score_files
from plml.prediction.writers import Prediction, as_text, form_of, predict_labels, writing
from plml.predictor import Predictor
from plml.thresholds.file import Thresholds, find_thresholds

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def run(options: argparse.Namespace) -> int:
    """Print the classes of each image, most probable first; or write every class.

    Returns:
        FAILED if some images could not be read; they are told on standard error, and the others are done.

    Raises:
        DataError: no image could be read.
    """
    out = Path(options.out) if options.out else None
    form = "json" if options.json else "csv"
    if out is not None:
        if options.json or options.csv:
            raise ConfigError(f"--out says the form by the name of the file; leave --{form} out")
        form = form_of(out)
    files = image_files(options.images)
    checkpoint = Path(options.checkpoint)
    predictor = Predictor(checkpoint, options.device, options.weights)
    predictor.batch_size = options.batch_size or predictor.batch_size
    thresholds = None
    if options.thresholds is not None:
        thresholds = find_thresholds(options.thresholds, checkpoint, predictor.class_names)
        sys.stderr.write(f"classes by thresholds: {thresholds.chosen_by}\n")
    predictions = Predictions(predictor, files, thresholds)
    if out is not None:
        write_whole(out, lambda file: _write(file, form, predictions))
        sys.stderr.write(f"{predictions.done} images: {out}\n")
    elif options.json or options.csv:
        with writing(
            sys.stdout, "jsonl" if options.json else "csv", predictor.class_names, with_labels=thresholds is not None
        ) as write:
            for prediction in predictions:
                write(prediction)
    else:
        _print(predictions, options.top)
    return predictions.conclude()


class Predictions:
    """Predictions of image files in their order, with a bar on a terminal; unreadable images are told and left out.

    Args:
        predictor: the network.
        files: at least one.
        thresholds: that say which classes an image has, or None.

    Attributes:
        done: how many images were predicted.
        broken: how many could not be read.
    """

    def __init__(self, predictor: Predictor, files: Sequence[Path], thresholds: Thresholds | None) -> None:
        self.predictor, self.files, self.thresholds = predictor, files, thresholds
        self.done, self.broken, self._last = 0, 0, ""

    def __iter__(self) -> Iterator[Prediction]:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        # A terminal only: in a file or a pipe a bar is noise.
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        names = self.predictor.class_names
        with bar:
            task = bar.add_task("images", total=len(self.files))
            for scored in score_files(self.predictor, self.files):
                if scored.logits is None:
                    self.broken, self._last = self.broken + 1, scored.error
                    console.print(f"left out: {scored.error}", markup=False)
                else:
                    self.done += 1
                    yield Prediction(scored.file, *predict_labels(scored.logits, names, self.thresholds))
                bar.advance(task)

    def conclude(self) -> int:
        """Return the exit code; raise DataError if no image could be read."""
        if not self.broken:
            return DONE
        if not self.done:
            raise DataError(f"none of {self.broken} images could be read; the last: {self._last}")
        sys.stderr.write(f"error: {self.broken} of {self.broken + self.done} images could not be read\n")
        return FAILED


def _write(file: BinaryIO, form: str, predictions: Predictions) -> None:
    names, with_labels = predictions.predictor.class_names, predictions.thresholds is not None
    with as_text(file) as text, writing(text, form, names, with_labels=with_labels) as write:
        for prediction in predictions:
            write(prediction)
    if not predictions.done:
        predictions.conclude()  # raises, so no file is left


def _print(predictions: Predictions, top: int) -> None:
    names = predictions.predictor.class_names
    shown = min(top, len(names))
    labelled = ["classes"] if predictions.thresholds is not None else []
    table = Table("image", *labelled, *(f"{place + 1}." for place in range(shown)))
    for file, probabilities, labels in predictions:
        best = probabilities.topk(shown)
        cells = [f"{names[i]} {p:.3f}" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        table.add_row(str(file), *([", ".join(labels) or "none"] if labels is not None else []), *cells)
    if predictions.done:
        Console(highlight=False).print(table)


def image_files(arguments: Sequence[str]) -> list[Path]:
    """Return the image files named, and those inside folders named; raise DataError for what is not there."""
    files: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            inside = sorted(p for p in argument.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise DataError(f"{argument} holds no image ({', '.join(sorted(SUFFIXES))})")
            files += inside
        elif argument.is_file():
            files.append(argument)
        else:
            raise DataError(f"{argument} is neither an image file nor a folder")
    return files
