"""A split of a checkpoint's data, scored: what evaluation and the choice of thresholds begin with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from plml.checkpoint import load_checkpoint
from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.data.load import load_bundle
from plml.device import pick_device
from plml.errors import CheckpointError
from plml.numerics import lay_out
from plml.restored import checkpoint_config, restore
from plml.scoring import score

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class ScoredSplit:
    """A split and what a checkpoint's network says of it.

    Attributes:
        content: what the checkpoint holds.
        config: the run's configuration, with assignments applied.
        bundle: the data set.
        split: the split.
        logits: (N, L) float32, on the run's device.
    """

    content: dict[str, Any]
    config: TrainConfig
    bundle: Bundle
    split: Split
    logits: Tensor


def score_split(
    checkpoint: Path,
    name: SplitName,
    assignments: Sequence[str] = (),
    *,
    check: Callable[[dict[str, Any], TrainConfig, Bundle], None] | None = None,
) -> ScoredSplit:
    """Score a split of the data that a checkpoint's configuration names.

    Args:
        checkpoint: ``best.pt`` or ``last.pt`` of a run.
        name: of the split.
        assignments: ``path=value`` over the configuration, for example ``data.root=DIR``.
        check: is given the checkpoint's content, the configuration and the data before anything is scored, and raises
            what is wrong with them.

    Raises:
        CheckpointError: the checkpoint knows other classes than the data.
        DataError: the data are not there.
    """
    content = load_checkpoint(checkpoint)
    config = checkpoint_config(content, assignments)
    bundle = load_bundle(config)
    if list(bundle.class_names) != content["class_names"]:
        raise CheckpointError(
            f"{checkpoint} knows the classes {content['class_names']}, the data has {list(bundle.class_names)}"
        )
    if check is not None:
        check(content, config, bundle)
    model = restore(content, config).to(pick_device(config.device))
    split: Split = getattr(bundle, name)
    torch.set_num_threads(config.threads)
    device = next(model.parameters()).device
    lay_out(model, device, config.precision)
    logits = score(model, len(split), lambda index: split.gather(index).to(device), precision=config.precision)
    return ScoredSplit(content, config, bundle, split, logits)
