"""``plml predict``: class names and probabilities of images, from a checkpoint."""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plml.cli import DONE
from plml.errors import ConfigError, DataError
from plml.predictor import Predictor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})


def run(options: argparse.Namespace) -> int:
    """Print the classes of each image, most probable first; or every class as JSON lines or CSV."""
    if options.top < 1:
        raise ConfigError(f"--top must be at least 1, got {options.top}")
    files = image_files(options.images)
    predictor = Predictor(Path(options.checkpoint), options.device, options.weights)
    names = predictor.class_names
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["image", *names])
        writer.writerows([str(file), *(f"{p:.6f}" for p in row.tolist())] for file, row in predictor(files))
    elif options.json:
        for file, row in predictor(files):
            probabilities = {name: round(p, 6) for name, p in zip(names, row.tolist(), strict=True)}
            sys.stdout.write(json.dumps({"image": str(file), "probabilities": probabilities}) + "\n")
    else:
        table = Table("image", *(f"{place + 1}." for place in range(min(options.top, len(names)))))
        for file, row in predictor(files):
            best = row.topk(min(options.top, len(names)))
            cells = (f"{names[i]} {p:.3f}" for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True))
            table.add_row(str(file), *cells)
        Console(highlight=False).print(table)
    return DONE


def image_files(arguments: Sequence[str]) -> list[Path]:
    """Return the image files named, and those inside folders named; raise DataError for what is not there."""
    files: list[Path] = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            inside = sorted(p for p in argument.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{argument} holds no image ({', '.join(sorted(SUFFIXES))})")
            files += inside
        elif argument.is_file():
            files.append(argument)
        else:
            raise DataError(f"{argument} is neither an image file nor a folder")
    return files
