"""The network and the configuration that a checkpoint holds."""

import json
from collections.abc import Sequence
from typing import Any

from plml.config import TrainConfig, make_config
from plml.models import Classifier, build_model
from plml.schema import parse_assignment


def checkpoint_config(content: dict[str, Any], assignments: Sequence[str] = ()) -> TrainConfig:
    """Return the configuration that a checkpoint holds, with ``path=value`` assignments applied."""
    return make_config(json.loads(content["config"]), dict(map(parse_assignment, assignments)), source="checkpoint")


def restore(content: dict[str, Any], config: TrainConfig) -> Classifier:
    """Build the network of a checkpoint with its weights, in evaluation mode."""
    shape = content["input_shape"]
    model = build_model(
        # The checkpoint holds every weight: the backbone's file is not needed.
        config.model.model_copy(update={"weights": None}),
        num_classes=len(content["class_names"]),
        input_shape=(shape[2], *shape[:2]) if len(shape) == 3 else tuple(shape),
    )
    average = content.get("average")
    state = content["model"] if average is None else without_prefix(average, "module.")
    model.load_state_dict(state)
    return model.eval()


def without_prefix(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries of a state dict that start with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
