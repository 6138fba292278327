"""Class activation maps of the same images by several models.

What a map shows is the head's business (:meth:`plml.models.heads.Head.class_maps`): the mean of a map over its
positions is the logit. The side by side view follows the qualitative figure of Kim et al., Bridging the Gap between
Model Explanations in Partially Annotated Multi-label Classification (BoostLU), CVPR 2023, arXiv:2304.01804.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from plml.errors import CheckpointError
from plml.explain.subjects import Subject
from plml.predictor import Predictor

Scale = Literal["own", "shared"]


@dataclass(frozen=True)
class ClassMap:
    """One class of one image, as one model sees it.

    Attributes:
        class_name: the class.
        probability: of the class in the image, in [0, 1].
        values: (h, w) float64, the class map; its mean is the logit.
    """

    class_name: str
    probability: float
    values: NDArray[np.float64]


@torch.no_grad()
def class_maps(model: Predictor, pixels: NDArray[np.uint8]) -> list[ClassMap]:
    """Return the maps of all classes of an image (S, S, C).

    Raises:
        CheckpointError: the network has no feature maps.
    """
    if model.model.backbone is None:
        raise CheckpointError("a class map needs a convolutional backbone, and this checkpoint is a head alone")
    maps = model.model.head.class_maps(model.model.features(model.batch([pixels]))).double().cpu()[0]  # (L, h, w)
    probabilities = maps.mean(dim=(1, 2)).sigmoid().tolist()
    return [
        ClassMap(name, probability, values.numpy())
        for name, probability, values in zip(model.class_names, probabilities, maps, strict=True)
    ]


def shown_classes(subject: Subject, maps: Sequence[Sequence[ClassMap]], count: int) -> list[str]:
    """Return the classes to draw: labelled ones in column order, or else those the models find most probable."""
    if subject.labels:
        return list(subject.labels)[:count]
    best = {one.class_name: max(own[k].probability for own in maps) for k, one in enumerate(maps[0])}
    return sorted(best, key=lambda name: -best[name])[:count]


def heat(maps: Sequence[NDArray[np.float64]], scale: Scale) -> list[NDArray[np.float64]]:
    """Return maps of one class by several models with values in [0, 1].

    Args:
        maps: (h, w) each.
        scale: ``own`` spreads every map from its smallest to its largest value and shows its shape; ``shared`` counts
            from 0 to the largest value of all of them and shows its height.
    """
    if scale == "own":
        return [(values - values.min()) / max(float(np.ptp(values)), np.finfo(float).tiny) for values in maps]
    largest = max(max(float(values.max()) for values in maps), np.finfo(float).tiny)
    return [values.clip(min=0.0) / largest for values in maps]
