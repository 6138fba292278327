"""``plml export``: a trained model as one file for onnxruntime or ``torch.export.load``, compared with plml."""

import argparse
import time
from pathlib import Path

import torch
from rich.console import Console

from plml.cli import DONE, FAILED
from plml.export.description import describe
from plml.export.formats import EXTRA, FORMATS, Run
from plml.export.network import Subject, exported_program
from plml.thresholds.calibration import Calibration
from plml.thresholds.file import AUTO, Thresholds, beside, find_thresholds

TOLERANCE = 1e-4  # of probabilities, on images of the network's own size
NONE = "none"


def run(options: argparse.Namespace) -> int:
    """Write the file, run it and print how far its scores are from plml's.

    Returns:
        FAILED if they are too far, and the file is not left.
    """
    form, out = FORMATS[options.format], Path(options.out)
    form.check(options.format, out)
    console = Console(highlight=False, soft_wrap=True)
    checkpoint = Path(options.checkpoint)
    subject = Subject.read(checkpoint, options.weights)
    thresholds = _thresholds(options.thresholds, checkpoint, subject)
    scaling = Calibration() if thresholds is None else thresholds.scaling
    description = describe(subject, thresholds)
    began = time.perf_counter()
    form.write(exported_program(subject, subject.network(scaling)), description, out)
    took, size = time.perf_counter() - began, out.stat().st_size / 1e6
    console.print(f"written: {out} ({size:.1f} MB, {took:.1f} s)", markup=False)
    shape = ", ".join(map(str, description["input"]["shape"]))
    console.print(f"takes {description['input']['name']} ({shape}) {description['input']['dtype']}", markup=False)
    console.print(f"gives probabilities and logits (N, {len(description['class_names'])}) float32")
    if thresholds is not None:
        console.print(f"thresholds: {thresholds.chosen_by}", markup=False)
    if not form.can_run:
        console.print(f"not compared: {form.runs_with} is not installed ({EXTRA})")
        return DONE
    worst = compare(subject, form.load(out), scaling, console, form.runs_with)
    if worst > TOLERANCE:
        out.unlink()
        console.print(f"error: that is more than {TOLERANCE:g}, so the file was deleted")
        return FAILED
    return DONE


def compare(subject: Subject, exported: Run, scaling: Calibration, console: Console, runner: str) -> float:
    """Run a written file; print the largest differences of its scores from plml's and return that of probabilities.

    The number returned is over inputs of the network's own size, one and several at once. Over images of other sizes,
    which plml resizes with Pillow, the difference is printed.
    """
    worst = 0.0
    for count in (1, 3):
        inputs = subject.random_inputs(count, seed=count)
        far = _differences(subject, exported, inputs, scaling)
        worst = max(worst, far)
    console.print(f"largest difference of a probability, {runner} from plml: {worst:.1e}")
    if subject.predictor is not None:
        inputs = subject.random_inputs(2, size=(subject.inputs[0] * 3 // 2, subject.inputs[0] * 2), seed=7)
        far = _differences(subject, exported, inputs, scaling)
        console.print(f"on images that the graph resizes, and plml with Pillow: {far:.1e}")
    return worst


def _differences(subject: Subject, exported: Run, inputs: torch.Tensor, scaling: Calibration) -> float:
    probabilities, _ = exported(inputs)
    expected = scaling.apply(subject.reference(inputs)).sigmoid()
    return float((probabilities - expected).abs().max())


def _thresholds(choice: str, checkpoint: Path, subject: Subject) -> Thresholds | None:
    if choice == NONE or (choice == AUTO and not beside(checkpoint).is_file()):
        return None
    return find_thresholds(choice, checkpoint, subject.content["class_names"])
