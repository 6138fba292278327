"""What scores are worth: the figures of a validation split, the value that selects by it, and the test result."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from plml.compat import Compat
from plml.config import TrainConfig
from plml.data.bundle import Bundle, Split
from plml.judge import Judge, find_judge
from plml.metrics import (
    average_precision,
    known_mean_average_precision,
    multilabel_metrics,
    stacked_multilabel_metrics,
)
from plml.selection_config import SelectionConfig
from plml.standings import Standings

_OBSERVED_MAP = SelectionConfig(labels="observed", criterion="map")


class Validation:
    """Labels of a validation split on the device, and what criteria make of them.

    Args:
        truth: (N, L).
        observed: (N, L).
        expected_positives: declared k, or None.
    """

    def __init__(self, truth: Tensor, observed: Tensor, expected_positives: float | None = None) -> None:
        self.truth, self.observed, self.expected_positives = truth, observed, expected_positives
        self._judges: dict[str, Judge] = {}

    @classmethod
    def of(cls, split: Split, device: torch.device, expected_positives: float | None = None) -> "Validation":
        """Bring the labels of ``split`` to ``device``."""
        return cls(split.truth.to(device), split.observed.to(device), expected_positives)

    def judge(self, chosen: SelectionConfig, observation: Mapping[str, Any]) -> Judge:
        """Return what applies a criterion to this split.

        Args:
            chosen: labels and criterion.
            observation: the label setting.

        Raises:
            ConfigError: the criterion needs what this split does not have.
        """
        key = repr((chosen.resolved(observation), dict(observation)))
        if key not in self._judges:
            self._judges[key] = find_judge(
                chosen,
                observation,
                truth=self.truth,
                observed=self.observed,
                expected_positives=self.expected_positives,
            )
        return self._judges[key]

    def figures(self, logits: Tensor, configs: Sequence[TrainConfig]) -> list[tuple[dict[str, float], float]]:
        """Return for each of K runs the figures to report, and the one that selects.

        Args:
            logits: (K, N, L).
            configs: of the K runs; they agree in ``compat``.
        """
        compat = configs[0].compat
        reported = stacked_multilabel_metrics(logits, self.truth, compat=compat)
        standings = Standings(logits, compat)
        of_observed = self.judge(_OBSERVED_MAP, configs[0].data.observation)
        observed = of_observed.values(logits, compat, standings).tolist()
        values = [0.0] * len(configs)
        for chosen, places in _alike(configs).items():
            judge = self.judge(chosen, configs[places[0]].data.observation)
            if chosen == _OBSERVED_MAP:
                found = [observed[place] for place in places]
            elif chosen.labels == "clean" and chosen.criterion in ("map", "known_map") and judge.images is None:
                found = [reported[place]["mAP"] for place in places]
            elif len(places) == len(configs):
                found = judge.values(logits, compat, standings).tolist()
            else:
                found = judge.values(logits[places], compat).tolist()
            for place, value in zip(places, found, strict=True):
                values[place] = value
        return [
            ({**{f"val/{key}": figure for key, figure in figures.items()}, "val_observed/mAP": seen}, value)
            for figures, seen, value in zip(reported, observed, values, strict=True)
        ]


def _alike(configs: Sequence[TrainConfig]) -> dict[SelectionConfig, list[int]]:
    """Places of the runs that choose by the same criterion."""
    found: dict[SelectionConfig, list[int]] = {}
    for place, config in enumerate(configs):
        found.setdefault(config.choosing.model_copy(update={"test_figures": "chosen"}), []).append(place)
    return found


def epoch_test_figures(truth: Tensor, logits: Tensor, compat: Compat) -> list[dict[str, float]]:
    """Return for each of K runs the test figure of an epoch that was not chosen; it chooses nothing.

    Args:
        truth: (N, L) of the test split.
        logits: (K, N, L).
        compat: see :mod:`plml.metrics`.
    """
    maps = known_mean_average_precision(logits, truth, compat=compat).tolist()
    return [{"test_by_epoch/mAP": value} for value in maps]


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
