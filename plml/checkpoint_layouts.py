"""Checkpoints of the reference projects: how their keys map to backbone and head of ours.

Backbones are torchvision ResNets whose depth is read from the file. Files are opened with ``weights_only``: tensors and
plain values load, code never runs.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.errors import CheckpointError, ConfigError, nearest

State = dict[str, Tensor]

_CHILDREN = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}  # of a ResNet, in order
_DEPTHS = {6: "resnet50", 23: "resnet101"}  # by the number of blocks in layer3


@dataclass(frozen=True)
class Foreign:
    """What a checkpoint of another project says in our terms.

    Attributes:
        backbone: its name here; None when the file holds a head alone.
        backbone_state: tensors by the names of our backbone.
        head: ``{name, **options}`` as in ``model.head``, as far as the file tells.
        head_state: tensors by the names of that head.
        settings: other values that the file holds, for showing.
    """

    backbone: str | None
    backbone_state: State
    head: dict[str, Any]
    head_state: State
    settings: dict[str, Any] = field(default_factory=dict)


LAYOUTS: dict[str, Callable[[State, dict[str, Any]], Foreign]] = {}


def layout(
    name: str,
) -> Callable[[Callable[[State, dict[str, Any]], Foreign]], Callable[[State, dict[str, Any]], Foreign]]:
    """Register a reader of the files of project ``name``."""

    def register(reader: Callable[[State, dict[str, Any]], Foreign]) -> Callable[[State, dict[str, Any]], Foreign]:
        LAYOUTS[name] = reader
        return reader

    return register


def read_foreign(path: Path, project: str) -> Foreign:
    """Read a checkpoint of ``project``.

    Raises:
        ConfigError: no such project.
        CheckpointError: the file is missing, holds objects that are not loaded, or lacks keys of the layout.
    """
    if project not in LAYOUTS:
        raise ConfigError(f"--from: there is no project '{project}'{nearest(project, LAYOUTS)}")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"a Python object of type {named[1]}" if named else "something other than tensors and plain values"
        raise CheckpointError(
            f"{path}: holds {what}, and objects are not loaded, because loading them runs code; save it anew with "
            "tensors, numbers, text, lists and dicts only"
        ) from None
    except Exception as error:  # a damaged file can end in any error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {reason}") from error
    state, settings = content if isinstance(content, tuple | list) and len(content) == 2 else (content, {})
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected a mapping of names to tensors, got {type(state).__name__}")
    # DataParallel puts its own name before every key.
    tensors = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        return LAYOUTS[project](tensors, dict(settings) if isinstance(settings, Mapping) else {})
    except KeyError as error:
        hint = nearest(str(error.args[0]), tensors)
        raise CheckpointError(
            f"{path}: a checkpoint of '{project}' has the key {error}, and this one has not{hint}"
        ) from None


@layout("cones")
def _cones(state: State, settings: dict[str, Any]) -> Foreign:
    head = {"linear.weight": state["fc_all.weight"], "linear.bias": state["fc_all.bias"]}
    return _resnet(_top_level(state), {"name": "linear"}, head, settings)


@layout("csra")
def _csra(state: State, settings: dict[str, Any]) -> Foreign:
    heads = sorted(
        int(m[1]) for key in state if (m := re.fullmatch(r"classifier\.multi_head\.(\d+)\.head\.weight", key))
    )
    weights = [state[f"classifier.multi_head.{h}.head.weight"].flatten(1) for h in heads or [0]]
    return _resnet(
        _top_level(state), {"name": "csra", "num_heads": len(weights)}, {"weights": torch.stack(weights)}, settings
    )


@layout("spml")
def _spml(state: State, settings: dict[str, Any]) -> Foreign:
    if "linear_classifier.fc.weight" in state:
        head = {
            "linear.weight": state["linear_classifier.fc.weight"],
            "linear.bias": state["linear_classifier.fc.bias"],
        }
        return Foreign(None, {}, {"name": "linear"}, head, settings)
    head = {"linear.weight": state["linear_classifier.weight"], "linear.bias": state["linear_classifier.bias"]}
    return _resnet(_numbered(state), {"name": "linear"}, head, settings)


LAYOUTS["largeloss"] = _spml  # the same network; the file is a pair of it and the settings


@layout("boostlu")
def _boostlu(state: State, settings: dict[str, Any]) -> Foreign:
    head = {"linear.weight": state["onebyone_conv.weight"].flatten(1), "linear.bias": state["onebyone_conv.bias"]}
    alpha = float(settings.get("alpha", 5.0))
    return _resnet(_numbered(state), {"name": "boostlu", "alpha": alpha}, head, settings)


def _top_level(state: State) -> State:
    """Backbone tensors that stand under torchvision's own names."""
    return {key: value for key, value in state.items() if key.partition(".")[0] in _CHILDREN.values()}


def _numbered(state: State) -> State:
    """Backbone tensors that stand under ``feature_extractor.NUMBER``, the children of a ResNet in order."""
    found: State = {}
    for key, value in state.items():
        match = re.fullmatch(r"feature_extractor\.(\d+)\.(.+)", key)
        if match and int(match[1]) in _CHILDREN:
            found[f"{_CHILDREN[int(match[1])]}.{match[2]}"] = value
    return found


def _resnet(backbone: State, head: dict[str, Any], head_state: State, settings: dict[str, Any]) -> Foreign:
    blocks = {key.split(".")[1] for key in backbone if key.startswith("layer3.")}
    if len(blocks) not in _DEPTHS:
        raise CheckpointError(
            f"the backbone is a ResNet with {len(blocks)} blocks in layer3; known are "
            f"{', '.join(f'{count} ({name})' for count, name in _DEPTHS.items())}"
        )
    return Foreign(_DEPTHS[len(blocks)], backbone, head, head_state, settings)
