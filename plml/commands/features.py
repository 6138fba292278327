"""``plml features``: extract and store the backbone's features, so that linear mode starts at once."""

import argparse

from rich.console import Console

from plml.cli import DONE
from plml.config import load_config
from plml.data.load import load_bundle


def run(options: argparse.Namespace) -> int:
    """Extract the features that ``mode: linear`` of this configuration reads, unless they are stored already."""
    config = load_config(options.config, [*options.assignments, "mode=linear"])
    console = Console(highlight=False)
    bundle = load_bundle(config, progress=console.is_terminal)
    dimension = bundle.train.array.shape[1]
    counts = ", ".join(f"{name} {len(split)}" for name, split in _splits(bundle))
    console.print(f"features of {bundle.name} by {config.model.backbone}: {dimension} numbers an image; {counts}")
    return DONE


def _splits(bundle: object) -> list[tuple[str, list[object]]]:
    return [(name, getattr(bundle, name)) for name in ("train", "val", "test")]
