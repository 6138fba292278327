"""``plml evaluate``: score a split with a checkpoint, and with thresholds what they decide."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from plml.checkpoint import load_checkpoint
from plml.cli import DONE
from plml.compat import Compat
from plml.errors import ConfigError
from plml.group_means import annotation_counts, group_means
from plml.metrics import average_precision, multilabel_metrics, threshold_metrics
from plml.scored_split import score_split
from plml.thresholds.file import Thresholds, find_thresholds


def run(options: argparse.Namespace) -> int:
    """Print the metrics of one split: all of them, what thresholds decide, and the average precision of each class."""
    if options.groups is not None and options.groups < 1:
        raise ConfigError(f"--groups must be at least 1, got {options.groups}")
    checkpoint, thresholds = Path(options.checkpoint), None
    if options.thresholds is not None:
        thresholds = find_thresholds(options.thresholds, checkpoint, load_checkpoint(checkpoint)["class_names"])
    scored = score_split(checkpoint, options.split, options.assignments)
    content, config, bundle, split, logits = scored.content, scored.config, scored.bundle, scored.split, scored.logits
    truth = split.truth.to(logits.device)
    metrics = multilabel_metrics(logits, truth, compat=config.compat)
    if options.groups:
        means = group_means(
            logits,
            truth,
            annotation_counts(bundle.train.observed).to(logits.device),
            num_groups=options.groups,
            compat=config.compat,
        )
        metrics |= {f"group {number + 1} mAP": value for number, value in enumerate(means.groups.tolist())}
    per_class = (100 * average_precision(logits, truth, known_only=True)).tolist()
    if options.json:
        named = {name: ap if ap == ap else None for name, ap in zip(bundle.class_names, per_class, strict=True)}
        figures = {name: value if value == value else None for name, value in metrics.items()}
        row = {"checkpoint": options.checkpoint, "split": options.split, "metrics": figures, "AP": named}
        if thresholds is not None:
            decided = decided_metrics(logits, truth, thresholds, config.compat)
            at = {name: v if v == v else None for name, v in decided.items()}
            row["thresholds"] = {"chosen_by": thresholds.chosen_by, "uses_truth": thresholds.uses_truth, "metrics": at}
        Console(highlight=False).print_json(json.dumps(row))
        return DONE
    console = Console(highlight=False)
    console.print(f"{options.split} split of {bundle.name}: {len(split)} examples, epoch {content['epoch']}")
    tables: list[tuple[str, Mapping[str, float]]] = [("metric", metrics)]
    if thresholds is not None:
        console.print(f"at thresholds: {thresholds.chosen_by}", markup=False, soft_wrap=True)
        if options.split == "val" and thresholds.checkpoint_sha256 is not None:
            console.print("figures at thresholds are optimistic here: this split chose them")
        tables.append(("at thresholds", decided_metrics(logits, truth, thresholds, config.compat)))
    tables.append(("class AP", dict(zip(bundle.class_names, per_class, strict=True))))
    for title, values in tables:
        table = Table(title, "value")
        for key, value in values.items():
            table.add_row(key, "no positives" if value != value else f"{value:.4f}")
        console.print(table)
    return DONE


def decided_metrics(logits: Tensor, truth: Tensor, thresholds: Thresholds, compat: Compat) -> dict[str, float]:
    """Return :class:`plml.metrics.ThresholdMetrics` in percent of what thresholds decide; NaN where a logit is.

    Args:
        logits: (N, L) of the network.
        truth: (N, L).
        thresholds: of the L classes.
        compat: see :mod:`plml.metrics`.
    """
    logits = logits.cpu()  # decisions take double precision, which not every device has
    decided = thresholds.decide(logits).double().masked_fill(logits.isnan(), float("nan"))
    figures = threshold_metrics(decided, truth.cpu(), threshold=0.5, compat=compat)
    return {name: float(value) for name, value in figures._asdict().items()}
