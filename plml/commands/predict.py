"""``plml predict``: class names and probabilities of images, from a checkpoint."""

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from plml import __version__
from plml.checkpoint import write_whole
from plml.cli import DONE, FAILED
from plml.data.pixels import image_suffixes
from plml.errors import ConfigError, DataError
from plml.prediction.kept_rows import KeptRows
from plml.prediction.stream import score_files
from plml.prediction.writers import LeftOut, Prediction, as_text, form_of, predict_labels, printable, writing
from plml.predictor import Predictor
from plml.thresholds.file import Thresholds, checkpoint_digest, find_thresholds


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
    job = Job(predictor, files, thresholds)
    if out is not None:
        job.write(out, form, checkpoint)
    elif options.json or options.csv:
        with writing(
            sys.stdout, "jsonl" if options.json else "csv", predictor.class_names, with_labels=thresholds is not None
        ) as write:
            for row in job.rows():
                if isinstance(row, Prediction):
                    write(row)
    else:
        job.show(options.top)
    return job.conclude()


class Job:
    """Predictions of image files in their order; unreadable images are told and left out.

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

    def rows(self) -> Iterator[Prediction | LeftOut]:
        """Yield a row for every image that is not done or broken yet, with a bar on a terminal."""
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        # A terminal only: in a file or a pipe a bar is noise.
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        names, before = self.predictor.class_names, self.done + self.broken
        # The batch that was broken off is scored as a whole again: rounding depends on what is in a batch.
        again = before % self.predictor.batch_size
        scores = score_files(self.predictor, islice(self.files, before - again, None))
        with bar:
            task = bar.add_task("images", total=len(self.files), completed=before)
            for scored in islice(scores, again, None):
                if scored.logits is None:
                    self.broken, self._last = self.broken + 1, scored.error
                    console.print(f"left out: {scored.error}", markup=False)
                    yield LeftOut(scored.file, scored.error)
                else:
                    self.done += 1
                    yield Prediction(scored.file, *predict_labels(scored.logits, names, self.thresholds))
                bar.advance(task)

    def write(self, out: Path, form: str, checkpoint: Path) -> None:
        """Write a file, whole; rows are kept beside it until then, so the same command goes on from there."""
        with KeptRows(out.with_name(f"{out.name}.part"), self._decides(checkpoint)) as kept:
            if kept.differs:
                sys.stderr.write(f"{kept.path}: is of another {', another '.join(kept.differs)}: beginning anew\n")
            if kept.count:
                unread = f", {kept.left_out} of them unread" if kept.left_out else ""
                sys.stderr.write(f"{kept.path}: going on after {kept.count} of {len(self.files)} images{unread}\n")
            self.done, self.broken = kept.count - kept.left_out, kept.left_out
            try:
                for row in self.rows():
                    kept.add(row)
            except BaseException:  # Ctrl-C, a full disk, memory that ran out
                if kept.count:
                    sys.stderr.write(f"{kept.count} of {len(self.files)} images are kept in {kept.path}\n")
                raise
            if self.done:
                write_whole(out, lambda file: self._assemble(file, form, kept))
                sys.stderr.write(f"{self.done} images: {out}\n")
            kept.delete()

    def show(self, top: int) -> None:
        """Print the ``top`` most probable classes of each image."""
        names = self.predictor.class_names
        shown = min(top, len(names))
        labelled = ["classes"] if self.thresholds is not None else []
        table = Table("image", *labelled, *(f"{place + 1}." for place in range(shown)))
        for row in self.rows():
            if isinstance(row, LeftOut):
                continue
            best = row.probabilities.topk(shown)
            cells = [f"{names[i]} {p:.3f}" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
            classes = [", ".join(row.labels) or "none"] if row.labels is not None else []
            table.add_row(*map(Text, (printable(row.file), *classes, *cells)))
        if self.done:
            Console(highlight=False).print(table)

    def conclude(self) -> int:
        """Return the exit code; raise DataError if no image could be read."""
        if not self.broken:
            return DONE
        if not self.done:
            raise DataError(f"none of {self.broken} images could be read; the last: {self._last}")
        sys.stderr.write(f"error: {self.broken} of {self.broken + self.done} images could not be read\n")
        return FAILED

    def _assemble(self, file: BinaryIO, form: str, kept: KeptRows) -> None:
        names, with_labels = self.predictor.class_names, self.thresholds is not None
        with as_text(file) as text, writing(text, form, names, with_labels=with_labels) as write:
            for prediction in kept.predictions():
                write(prediction)

    def _decides(self, checkpoint: Path) -> dict[str, str]:
        """Return digests of all that decides about rows, but for how scores are rounded on a device."""
        network = hashlib.sha256(checkpoint_digest(checkpoint).encode())
        for value in self.predictor.model.state_dict().values():  # in linear mode the backbone is another file's
            network.update(value.cpu().numpy().tobytes())
        images = hashlib.sha256(b"\0".join(map(os.fsencode, self.files)))
        thresholds = "" if self.thresholds is None else self.thresholds.model_dump_json()
        return {
            "version of plml": __version__,
            "model": network.hexdigest(),
            "choice of thresholds": hashlib.sha256(thresholds.encode()).hexdigest(),
            "list of images": images.hexdigest(),
        }


def image_files(arguments: Sequence[str]) -> list[Path]:
    """Return the image files named, and those inside folders named; raise DataError for what is not there.

    What is passed over in a folder, since its name ends like that of no image, is counted on standard error.
    """
    files: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            inside = sorted(path for path in argument.rglob("*") if path.is_file())
            images = [path for path in inside if path.suffix.lower() in image_suffixes()]
            if not images:
                raise DataError(f"{argument} holds no image ({', '.join(sorted(image_suffixes()))})")
            others = Counter(path.suffix.lower() or "no ending" for path in set(inside).difference(images))
            if others:
                kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(4))
                more = ", ..." if len(others) > 4 else ""
                sys.stderr.write(f"{argument}: {others.total()} files not looked at ({kinds}{more})\n")
            files += images
        elif argument.is_file():
            files.append(argument)
        else:
            raise DataError(f"{argument} is neither an image file nor a folder")
    return files
