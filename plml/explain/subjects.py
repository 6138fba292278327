"""The images that models are explained on, and the models: checkpoints with a name each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plml.config import TrainConfig
from plml.data.load import load_bundle
from plml.errors import CheckpointError, DataError
from plml.labels import POSITIVE
from plml.predictor import Predictor
from plml.restored import checkpoint_config


@dataclass(frozen=True)
class Subject:
    """One image to look at.

    Attributes:
        name: of the file, or of the example.
        pixels: (S, S, C) uint8 for each model, in the order of the models.
        labels: the positive classes; None where no labels are known.
    """

    name: str
    pixels: Sequence[NDArray[np.uint8]]
    labels: Sequence[str] | None = None


def load_models(files: Sequence[Path], device: str = "auto", weights: str | None = None) -> list[Predictor]:
    """Load checkpoints; raise CheckpointError when they do not know the same classes."""
    models = [Predictor(file, device, weights) for file in files]
    for file, model in zip(files, models, strict=True):
        if list(model.class_names) != list(models[0].class_names):
            raise CheckpointError(
                f"{file} knows the classes {list(model.class_names)}, {files[0]} {list(models[0].class_names)}; "
                "maps of the same classes are compared"
            )
    return models


def names_of(configs: Sequence[TrainConfig]) -> list[str]:
    """Return a short name of each model: method, head unless it is the plain one, more where two are alike."""
    names = []
    for config in configs:
        head = config.model.head["name"]
        names.append(config.method["name"] + ("" if head == "linear" else f" + {head}"))
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} {config.fingerprint[:6]}"
        for name, config in zip(names, configs, strict=True)
    ]


def subjects_from_files(files: Sequence[Path], models: Sequence[Predictor]) -> list[Subject]:
    """Decode image files for every model; raise DataError for one that is no image."""
    return [Subject(file.stem, [model.pixels(file) for model in models]) for file in files]


def subjects_from_split(
    models: Sequence[Predictor], split: str, number: int, *, seed: int = 0, assignments: Sequence[str] = ()
) -> list[Subject]:
    """Draw images that have positive labels, the same for all models.

    Args:
        models: they must have been trained on the same data set.
        split: train, val or test of the first one's.
        number: images wanted, >= 1; fewer where there are fewer.
        seed: of the draw.
        assignments: ``path=value`` over every checkpoint's configuration, for example ``data.root=DIR``.

    Raises:
        DataError: the models' data sets are not the same, or no image has a positive label.
    """
    chosen: list[int] = []
    pixels: list[list[NDArray[np.uint8]]] = []
    for model in models:
        config = checkpoint_config(model.content, assignments)
        # A linear run trained on features of these images; a label setting plays no part in looking at them.
        images = {"mode": "end_to_end", "linear_init": None}
        bundle = load_bundle(config.model_copy(update=images), device=model.device)
        part = getattr(bundle, split)
        if not part.is_images:
            raise DataError(f"{bundle.name} has features only: there is no image to look at")
        if not chosen:
            first, truth = part, part.truth
            labelled = np.flatnonzero((truth == POSITIVE).any(dim=1).numpy())
            if len(labelled) == 0:
                raise DataError(f"no image of the {split} split of {bundle.name} has a positive label")
            drawn = np.random.default_rng(seed).permutation(labelled)[:number]
            chosen, pixels = drawn.tolist(), [[] for _ in drawn]
        elif list(part.ids) != list(first.ids) or not torch.equal(part.truth, truth):
            raise DataError(
                f"the {split} splits of the models hold different images ({bundle.name}): give image files instead"
            )
        taken = part.gather(torch.tensor(chosen)).permute(0, 2, 3, 1).numpy()
        for place, image in enumerate(taken):
            pixels[place].append(image)
    names = models[0].class_names
    return [
        Subject(
            Path(str(first.ids[row])).stem, pixels[place], [names[k] for k in torch.where(truth[row] == POSITIVE)[0]]
        )
        for place, row in enumerate(chosen)
    ]
