"""What scores are worth: the figures of a validation split, the value that selects by it, and the test result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.metrics import average_precision, multilabel_metrics, stacked_multilabel_metrics
from plml.selection import criterion_values


@dataclass(frozen=True)
class Validation:
    """Labels of a validation split on the device.

    Attributes:
        truth: (N, L).
        observed: (N, L).
    """

    truth: Tensor
    observed: Tensor

    @classmethod
    def of(cls, split: Split, device: torch.device) -> "Validation":
        """Bring the labels of ``split`` to ``device``."""
        return cls(split.truth.to(device), split.observed.to(device))

    def figures(self, logits: Tensor, configs: Sequence[TrainConfig]) -> list[tuple[dict[str, float], float]]:
        """Return for each of K runs the figures to report, and the one that selects; percent.

        Args:
            logits: (K, N, L).
            configs: of the K runs; they agree in ``compat``.
        """
        compat = configs[0].compat
        reported = stacked_multilabel_metrics(logits, self.truth, compat=compat)
        observed = criterion_values("map", logits, self.observed, compat=compat).tolist()
        results = []
        for place, (config, figures) in enumerate(zip(configs, reported, strict=True)):
            if config.selection.labels == "clean":
                # What nobody verified even in the truth (a "difficult" object) is left out, as in val/mAP.
                value = figures["mAP"]
            elif config.selection.criterion == "map":
                value = observed[place]
            else:
                name = config.selection.criterion
                value = criterion_values(name, logits[place : place + 1], self.observed, compat=compat).item()
            mine = {f"val/{key}": figure for key, figure in figures.items()}
            results.append(({**mine, "val_observed/mAP": observed[place]}, value))
        return results


def test_result(
    config: TrainConfig, bundle: Bundle, val_logits: Tensor, test_logits: Tensor
) -> tuple[dict[str, float], Mapping[str, Any]]:
    """Return the test figures, and what ``result.json`` says of the chosen epoch beside which epoch it is.

    Args:
        config: the run.
        bundle: its data.
        val_logits: (N, L) of the chosen epoch, on the device.
        test_logits: (N, L).
    """
    truth = bundle.test.truth.to(test_logits.device)
    metrics = {f"test/{k}": v for k, v in multilabel_metrics(test_logits, truth, compat=config.compat).items()}
    per_class = {
        "test/AP": average_precision(test_logits, truth, known_only=True),
        "val/AP": average_precision(val_logits, bundle.val.truth.to(val_logits.device), known_only=True),
    }
    return metrics, {
        "metrics": metrics,
        "class_names": list(bundle.class_names),
        # A class without positives has no average precision: null, never NaN.
        "per_class": {
            key: [value if math.isfinite(value) else None for value in (100 * aps).tolist()]
            for key, aps in per_class.items()
        },
    }
