"""Thresholds go by the labels and the validation images of the checkpoint's own run, so that their stamp is true."""

from typing import Any

from plml.config import TrainConfig
from plml.errors import ConfigError, DataError
from plml.restored import checkpoint_config
from plml.schema import flatten
from plml.thresholds.evidence import LabelsName

# What decides which images validate, and what is seen of their labels.
DECIDING = ("observation", "observation_seed", "split_seed", "val_fraction", "subsample_val", "subsample_seed")
MOVABLE = "data.observation.path"  # a file of labels, which may lie elsewhere now; the digest says if it is the same


def require_own_labels(content: dict[str, Any], config: TrainConfig, digest: str, labels: LabelsName) -> None:
    """Check that the labels which are to choose are those that the run had.

    Args:
        content: of the checkpoint.
        config: its configuration, with what was assigned over it.
        digest: of the data set's labels, true and observed, as they were read now.
        labels: which of them are to choose.

    Raises:
        ConfigError: another label setting, or another split, was assigned.
        DataError: the configuration is the same, and the labels are others: another folder, or changed files.
    """
    way_out = "give --labels clean to choose by clean labels, which is stamped"
    own, given = (
        flatten({name: getattr(one.data, name) for name in DECIDING}, "data.")
        for one in (checkpoint_config(content), config)
    )
    imported = "imported" in content  # such a checkpoint does not know the labels that its project drew
    for path in [*own, *(path for path in given if path not in own)]:
        if own.get(path) != given.get(path) and (path != MOVABLE or imported):
            raise ConfigError(
                f"{path} must be that of the checkpoint, {own.get(path)!r}, got {given.get(path)!r}: thresholds are "
                f"chosen by the validation labels of the run itself; {way_out}"
            )
    if labels == "observed" and not imported and digest != content["data"]["digest"]:
        raise DataError(
            f"data.root: {config.data.root or config.data.name} must hold the labels that the checkpoint was trained "
            f"with, {content['data']['digest'][:12]}, got {digest[:12]}; {way_out}"
        )
