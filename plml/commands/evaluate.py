"""``plml evaluate``: score a split with a checkpoint."""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plml.cli import DONE
from plml.errors import ConfigError
from plml.group_means import annotation_counts, group_means
from plml.metrics import average_precision, multilabel_metrics
from plml.scored_split import score_split


def run(options: argparse.Namespace) -> int:
    """Print the metrics of one split: all of them, and the average precision of each class."""
    if options.groups is not None and options.groups < 1:
        raise ConfigError(f"--groups must be at least 1, got {options.groups}")
    scored = score_split(Path(options.checkpoint), options.split, options.assignments)
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
        Console(highlight=False).print_json(json.dumps(row))
        return DONE
    console = Console(highlight=False)
    console.print(f"{options.split} split of {bundle.name}: {len(split)} examples, epoch {content['epoch']}")
    for title, values in (("metric", metrics), ("class AP", dict(zip(bundle.class_names, per_class, strict=True)))):
        table = Table(title, "value")
        for key, value in values.items():
            table.add_row(key, "no positives" if value != value else f"{value:.4f}")
        console.print(table)
    return DONE
