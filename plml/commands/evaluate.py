"""``plml evaluate``: score a split with a checkpoint."""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from plml.checkpoint import load_checkpoint
from plml.cli import DONE
from plml.data.bundle import Split
from plml.data.load import load_bundle
from plml.device import pick_device
from plml.errors import CheckpointError
from plml.group_means import annotation_counts, group_means
from plml.metrics import average_precision, multilabel_metrics
from plml.numerics import lay_out
from plml.restored import checkpoint_config, restore
from plml.scoring import score


def run(options: argparse.Namespace) -> int:
    """Print the metrics of one split: all of them, and the average precision of each class."""
    content = load_checkpoint(Path(options.checkpoint))
    config = checkpoint_config(content, options.assignments)
    bundle = load_bundle(config)
    if list(bundle.class_names) != content["class_names"]:
        raise CheckpointError(
            f"{options.checkpoint} knows the classes {content['class_names']}, the data has {list(bundle.class_names)}"
        )
    model = restore(content, config).to(pick_device(config.device))
    split: Split = getattr(bundle, options.split)
    torch.set_num_threads(config.threads)
    device = next(model.parameters()).device
    lay_out(model, device, config.precision)
    logits = score(model, len(split), lambda index: split.gather(index).to(device), precision=config.precision)
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
