"""A file of thresholds: for which checkpoint, what they are, by what they were chosen; and how scores become labels.

It lies beside its checkpoint, ``best.pt`` and ``best.thresholds.json``, and names it by its SHA-256, so that it is
never applied to another one.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from plml.checkpoint import write_text
from plml.errors import DataError
from plml.schema import Strict
from plml.thresholds.calibration import Calibration

AUTO = "auto"
_Probability = Annotated[float, Field(ge=0, le=1)]
_ALMOST_ONE = math.nextafter(1.0, 0.0)


class FittedCalibration(Strict):
    """A calibration as the file has it."""

    slope: Annotated[float, Field(gt=0)]
    offset: float


class Thresholds(Strict):
    """Thresholds of one checkpoint.

    Attributes:
        format: of the file.
        checkpoint_sha256: of the checkpoint's file; None of what holds for any.
        fingerprint: of the run's configuration.
        chosen_by: in words; it stands on everything that the thresholds decide.
        uses_truth: whether that looked at labels which the setting does not have.
        details: criterion, scope, labels, setting, images and the like; ``rough`` names the classes whose threshold is
            a rough guess.
        calibration: what turns logits into the probabilities that the thresholds are on; None: the sigmoid alone.
        thresholds: by class, in column order, in [0, 1]; an image has a class if its probability, computed without
            rounding, is at least so high. 1 is never reached.
        estimates: of each class by the labels that chose: precision, recall and F1, in [0, 1]; the number of positives,
            and how many seen ones the threshold goes by.
    """

    format: Literal["plml-thresholds-1"] = "plml-thresholds-1"
    checkpoint_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    fingerprint: str = ""
    chosen_by: str
    uses_truth: bool = False
    details: dict[str, Any] = {}
    calibration: FittedCalibration | None = None
    thresholds: dict[str, _Probability]
    estimates: dict[str, dict[str, float]] = {}

    @property
    def scaling(self) -> Calibration:
        """What is applied to logits."""
        fitted = self.calibration
        return Calibration() if fitted is None else Calibration(fitted.slope, fitted.offset)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities that the thresholds are on, of logits (..., L)."""
        return self.scaling.apply(logits).sigmoid()

    @property
    def cut_logits(self) -> Tensor:
        """What the logits of a network, before calibration, are compared with, (L,) float64.

        Infinite for a threshold of 0, which every image passes, and of 1, which none does.
        """
        cuts = torch.tensor(list(self.thresholds.values()), dtype=torch.float64).logit()
        return (cuts - self.scaling.offset) / self.scaling.slope

    def decide(self, logits: Tensor) -> Tensor:
        """Return which classes images have, bool, of the network's logits (..., L).

        By logits, as probabilities in single precision are all 1 from a logit of 17 on.
        """
        return logits.double() >= self.cut_logits.to(logits.device)

    def write(self, path: Path) -> None:
        """Write the file, whole."""
        write_text(path, json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def as_threshold(logits: Tensor) -> Tensor:
    """Return the thresholds that calibrated logits stand for, float64 below 1: some image must be able to pass."""
    return logits.double().sigmoid().clamp(max=_ALMOST_ONE)


def beside(checkpoint: Path) -> Path:
    """Return where the thresholds of a checkpoint lie, unless somebody put them elsewhere."""
    return checkpoint.with_name(f"{checkpoint.stem}.thresholds.json")


def checkpoint_digest(checkpoint: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_thresholds(path: Path) -> Thresholds:
    """Read a file of thresholds; nothing in it is run.

    Raises:
        DataError: it is missing, or no such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file of thresholds; plml thresholds CHECKPOINT writes one") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from None
    try:
        return Thresholds.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is no file of thresholds: {where}: {first['msg']}") from None


def find_thresholds(choice: str, checkpoint: Path, class_names: Sequence[str]) -> Thresholds:
    """Return what ``--thresholds`` says: one number for all classes, ``auto`` for the file beside, or a file.

    Raises:
        DataError: there is no such file, or it belongs to another checkpoint.
    """
    number = _number(choice)
    if number is not None:
        if not 0 <= number <= 1:
            raise DataError(f"--thresholds: a threshold is a probability, from 0 to 1, got {choice}")
        cuts = dict.fromkeys(class_names, number)
        return Thresholds(chosen_by=f"{number:g} for every class, given by hand", thresholds=cuts)
    path = beside(checkpoint) if choice == AUTO else Path(choice)
    found = read_thresholds(path)
    check_thresholds(found, path, checkpoint, class_names)
    return found


def check_thresholds(found: Thresholds, path: Path, checkpoint: Path, class_names: Sequence[str]) -> None:
    """Raise DataError if thresholds read from ``path`` are not those of the checkpoint."""
    if list(found.thresholds) != list(class_names):
        raise DataError(
            f"{path}: knows the classes {_few(found.thresholds)}, and {checkpoint} knows {_few(class_names)}"
        )
    if found.checkpoint_sha256 is not None and found.checkpoint_sha256 != checkpoint_digest(checkpoint):
        raise DataError(
            f"{path}: was chosen for another checkpoint than {checkpoint}, whose scores mean something else; choose "
            "anew with plml thresholds"
        )


def _few(names: Mapping[str, Any] | Sequence[str]) -> str:
    """Return the first names and how many there are."""
    first = ", ".join(list(names)[:3])
    return f"{first}, ... ({len(names)})" if len(names) > 3 else first


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if not math.isnan(value) else None
