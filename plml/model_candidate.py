"""A checkpoint that may become a registered model, and what is to be said of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plml.errors import CheckpointError
from plml.predictor import Predictor
from plml.thresholds.file import AUTO, Thresholds, beside, find_thresholds

CHOSEN = "selection/value"  # the figure that the epoch was chosen by
CHOSEN_TAG = f"plml.{CHOSEN}"
CHECKPOINT_TAG = "plml.checkpoint"  # digest of the file, so that nothing is registered twice
THRESHOLDS_TAG = "plml.thresholds"  # what chose them, and a digest


@dataclass(frozen=True)
class Candidate:
    """A checkpoint and what may be said of it.

    Attributes:
        file: ``best.pt`` of a run.
        predictor: the network.
        metrics: figures of its epoch.
        tags: what identifies it and what it was chosen by.
        thresholds: those that lie beside the file, or None.
    """

    file: Path
    predictor: Predictor
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    thresholds: Thresholds | None = None

    @classmethod
    def read(cls, file: Path, weights: str | None = None) -> "Candidate":
        """Read a checkpoint, and the thresholds beside it if there are any.

        Raises:
            CheckpointError: it is not that of a chosen epoch, or takes no images.
            DataError: the thresholds beside it are those of another checkpoint.
        """
        predictor = Predictor(file, "cpu", weights)
        content, config = predictor.content, predictor.config
        if "metrics" not in content:
            raise CheckpointError(f"{file} has no figures of a chosen epoch: give the best.pt of a run")
        tags = {
            CHECKPOINT_TAG: hashlib.sha256(file.read_bytes()).hexdigest()[:16],
            "plml.fingerprint": content["fingerprint"],
            "plml.method": config.method["name"],
            "plml.setting": config.data.observation["name"],
            "plml.data": f"{content['data']['name']} {content['data']['digest'][:16]}",
            "plml.epoch": str(content["epoch"]),
            "plml.selection": config.selected_by,
            CHOSEN_TAG: repr(content["metrics"][CHOSEN]),
        }
        thresholds = None
        if beside(file).is_file():
            thresholds = find_thresholds(AUTO, file, predictor.class_names)
            digest = hashlib.sha256(thresholds.model_dump_json().encode()).hexdigest()[:16]
            tags[THRESHOLDS_TAG] = f"{thresholds.chosen_by} ({digest})"
        return cls(file, predictor, content["metrics"], tags, thresholds)

    def description(self) -> str:
        """Return what a reader of the model's page must know."""
        config, tags = self.predictor.config, self.tags
        decides = "" if self.thresholds is None else f" Classes by thresholds: {self.thresholds.chosen_by}."
        return (
            f"{config.method['name']} on {tags['plml.data']} ({tags['plml.setting']}), epoch {tags['plml.epoch']}, "
            f"chosen by {config.selected_by}: {self.metrics[CHOSEN]:.2f}. "
            f"Takes images (B, H, W, {self.predictor.channels}) uint8, or files in base64, returns probabilities of "
            f"{len(self.predictor.class_names)} classes, whose names are in the model's metadata.{decides}"
        )
