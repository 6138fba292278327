"""What an exported file says of itself: what it takes, what it gives, and where it comes from."""

import json
from typing import Any

import torch

from plml import __version__
from plml.export.network import Subject
from plml.thresholds.file import Thresholds, checkpoint_digest

KEY = "plml"  # in ONNX's metadata; of torch.export the extra file is KEY.json
_RESIZE = (
    "in the graph: to image_size x image_size, the aspect ratio not kept, bilinear with antialiasing, as Pillow's "
    "BILINEAR; images of that size pass unchanged"
)


def describe(subject: Subject, thresholds: Thresholds | None) -> dict[str, Any]:
    """Return the description as plain values."""
    content, config = subject.content, subject.config
    classes = len(content["class_names"])
    return {
        "format": "plml-export-1",
        "plml": __version__,
        "torch": str(torch.__version__),
        "input": _image_input(subject) if subject.predictor is not None else _feature_input(subject),
        "outputs": {
            "probabilities": {"dtype": "float32", "shape": ["N", classes], "calibrated": _calibrated(thresholds)},
            "logits": {"dtype": "float32", "shape": ["N", classes], "calibrated": False},
        },
        "image_size": content["image_size"],
        "class_names": list(content["class_names"]),
        "thresholds": None if thresholds is None else list(thresholds.thresholds.values()),
        "threshold_logits": None if thresholds is None else _cut_logits(thresholds),
        "thresholds_chosen_by": None if thresholds is None else thresholds.chosen_by,
        "thresholds_use_truth": None if thresholds is None else thresholds.uses_truth,
        "calibration": None if not _calibrated(thresholds) else thresholds.scaling._asdict(),  # type: ignore[union-attr]
        "checkpoint_sha256": checkpoint_digest(subject.checkpoint),
        "fingerprint": content["fingerprint"],
        "epoch": content.get("epoch"),
        "method": config.method["name"],
        "backbone": None if subject.predictor is None else config.model.backbone,
        "head": config.model.head["name"],
        "data": dict(content["data"]),
        "observation": dict(config.data.observation),
        "observation_seed": config.data.observation_seed,
        "selected_by": config.selected_by,
        "selection_uses_truth": config.choosing.uses_truth,
    }


def as_text(description: dict[str, Any]) -> str:
    """Return a description as files carry it."""
    return json.dumps(description, indent=1, ensure_ascii=False)


def _calibrated(thresholds: Thresholds | None) -> bool:
    return thresholds is not None and thresholds.calibration is not None


def _cut_logits(thresholds: Thresholds) -> list[float]:
    """Return what the output `logits` is to be compared with: near 1, float32 does not tell probabilities apart."""
    largest = torch.finfo(torch.float32).max  # JSON has no infinity
    return thresholds.cut_logits.clamp(-largest, largest).tolist()


def _image_input(subject: Subject) -> dict[str, Any]:
    channels = subject.inputs[2]
    colour = "RGB" if channels == 3 else "grey; of a colour image Pillow's convert('L')"
    scaled = "scaled to [0, 1]"
    return {
        "name": subject.input_name,
        "dtype": "uint8",
        "shape": ["N", "H", "W", channels],
        "values": f"{colour}, 0 to 255, as decoded; the rotation in EXIF data is not applied",
        "resize": _RESIZE,
        "normalisation": f"in the graph: {scaled}"
        + (", then ImageNet's mean and standard deviation" if subject.model.normalized else ""),
    }


def _feature_input(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.input_name,
        "dtype": "float32",
        "shape": ["N", subject.inputs[0]],
        "values": f"features of the data set '{subject.content['data']['name']}', as they came with it",
    }
