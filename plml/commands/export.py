"""``plml export``: a trained model as one file for onnxruntime or ``torch.export.load``, compared with plml."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from plml.cli import DONE, FAILED
from plml.export.description import describe
from plml.export.formats import EXTRA, FORMATS, Run, load_file, write_file
from plml.export.network import Subject
from plml.thresholds.calibration import Calibration
from plml.thresholds.file import AUTO, Thresholds, beside, find_thresholds

TOLERANCE = 1e-4  # of probabilities, and of logits over the largest of them, on images of the network's own size
NONE = "none"


def run(options: argparse.Namespace) -> int:
    """Write the file beside its place, run it, print how far its scores are from plml's, and move it there.

    Returns:
        FAILED if they are too far; then there is no new file, and one of before is as it was.
    """
    form, out = FORMATS[options.format], Path(options.out)
    form.check(options.format, out)
    console = Console(highlight=False, soft_wrap=True)
    checkpoint = Path(options.checkpoint)
    subject = Subject.read(checkpoint, options.weights)
    thresholds = _thresholds(options.thresholds, checkpoint, subject)
    scaling = Calibration() if thresholds is None else thresholds.scaling
    description = describe(subject, thresholds)
    unchecked = out.with_name(f".{out.stem}.{os.getpid()}.unchecked{out.suffix}")
    try:
        began = time.perf_counter()
        write_file(options.format, subject, scaling, description, unchecked)
        took, size = time.perf_counter() - began, unchecked.stat().st_size / 1e6
        shape = ", ".join(map(str, description["input"]["shape"]))
        console.print(f"takes {description['input']['name']} ({shape}) {description['input']['dtype']}", markup=False)
        console.print(f"gives probabilities and logits (N, {len(description['class_names'])}) float32")
        if thresholds is not None:
            console.print(f"thresholds: {thresholds.chosen_by}", markup=False)
        if form.can_run:
            found = compare(subject, load_file(options.format, unchecked), scaling)
            found.show(console, form.runs_with)
            if not found.acceptable:
                sys.stderr.write(f"error: {out} was not written: its scores are not within {TOLERANCE:g} of plml's\n")
                return FAILED
        else:
            console.print(f"not compared: {form.runs_with} is not installed ({EXTRA})")
        unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    console.print(f"written: {out} ({size:.1f} MB, {took:.1f} s)", markup=False)
    return DONE


class Differences(NamedTuple):
    """How far the scores of a file are from plml's: largest differences, NaN where one side has one.

    Attributes:
        probability: over inputs of the network's own size.
        logit: over the same inputs, divided by the largest logit, or by 1 if that is smaller.
        resized: of a probability, over images that the graph resizes, and plml with Pillow; None without images.
    """

    probability: float
    logit: float
    resized: float | None

    @property
    def acceptable(self) -> bool:
        """Whether the file may be used; resizing is told, and only has to give numbers."""
        # Never the other way round: every comparison with NaN is false.
        return self.probability <= TOLERANCE and self.logit <= TOLERANCE and (self.resized is None or self.resized <= 1)

    def show(self, console: Console, runner: str) -> None:
        """Print them."""
        console.print(f"largest difference of a probability, {runner} from plml: {self.probability:.1e}")
        console.print(f"largest difference of a logit, over the largest logit: {self.logit:.1e}")
        if self.resized is not None:
            console.print(f"on images that the graph resizes, and plml with Pillow: {self.resized:.1e}")


def compare(subject: Subject, exported: Run, scaling: Calibration) -> Differences:
    """Run a written file on one input and on several at once, and on images of another size.

    Args:
        subject: what was exported.
        exported: the file.
        scaling: of its probabilities.
    """
    pairs = [_differences(subject, exported, subject.random_inputs(count, seed=count), scaling) for count in (1, 3)]
    probability, logit = torch.tensor(pairs).amax(dim=0).tolist()  # NaN stays NaN
    if subject.predictor is None:
        return Differences(probability, logit, None)
    inputs = subject.random_inputs(2, size=(subject.inputs[0] * 3 // 2, subject.inputs[0] * 2), seed=7)
    return Differences(probability, logit, _differences(subject, exported, inputs, scaling)[0])


def _differences(subject: Subject, exported: Run, inputs: Tensor, scaling: Calibration) -> tuple[float, float]:
    probabilities, logits = exported(inputs)
    expected = subject.reference(inputs)
    far = (probabilities - scaling.apply(expected).sigmoid()).abs().max()
    scale = expected.abs().max().clamp(min=1)
    return float(far), float((logits - expected).abs().max() / scale)


def _thresholds(choice: str, checkpoint: Path, subject: Subject) -> Thresholds | None:
    if choice == NONE or (choice == AUTO and not beside(checkpoint).is_file()):
        return None
    return find_thresholds(choice, checkpoint, subject.content["class_names"])
