"""``plml explain``: class maps of the same images by several models, their label graphs, their diagnostics."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from plml.checkpoint import load_checkpoint
from plml.cli import DONE
from plml.commands.predict import image_files
from plml.errors import ConfigError
from plml.explain.curves import Series, curves_figure, read_curves
from plml.explain.graphs import graphs_figure, read_matrices
from plml.explain.maps import class_maps
from plml.explain.maps_figure import maps_figure
from plml.explain.subjects import load_models, names_of, subjects_from_files, subjects_from_split
from plml.restored import checkpoint_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
console = Console(highlight=False, soft_wrap=True)


def run(options: argparse.Namespace) -> int:
    """Write what there is to see of the given checkpoints, as PNG and SVG."""
    checkpoints, images, assignments = sort_arguments(options.things)
    if images and options.data:
        raise ConfigError(f"--data {options.data} draws images itself: give either that or image files")
    if assignments and not options.data:
        raise ConfigError(f"{assignments[0]}: assignments are about the data set, so they go with --data")
    for name, value in (("--number", options.number), ("--classes", options.classes)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    contents = [load_checkpoint(file) for file in checkpoints]
    names = options.names.split(",") if options.names else names_of([checkpoint_config(one) for one in contents])
    if len(set(names)) != len(checkpoints):
        raise ConfigError(f"{len(checkpoints)} models need as many different names, got {names}: give --names A,B")
    folder = Path(options.out)
    written: list[Path] = []
    if options.data or images:
        models = load_models(checkpoints, options.device, options.weights)
        if options.data:
            drawn = subjects_from_split(
                models, options.data, options.number, seed=options.seed, assignments=assignments
            )
        else:
            drawn = subjects_from_files(image_files(images)[: options.number], models)
        maps = [
            [class_maps(model, own) for model, own in zip(models, subject.pixels, strict=True)] for subject in drawn
        ]
        figure = maps_figure(drawn, maps, names, classes=options.classes, scale=options.scale)
        written += save(figure, folder, "class_maps")
    graphs: dict[str, NDArray[np.floating]] = {}
    curves: dict[str, Mapping[str, Series]] = {}
    for file, name, content in zip(checkpoints, names, contents, strict=True):
        epoch = int(content["epoch"])
        found = read_matrices(file.parent, epoch)
        graphs |= {f"{name}: {matrix}, epoch {epoch}": values for matrix, values in found.items()}
        if series := read_curves(file.parent):
            curves[name] = series
    if graphs:
        written += save(graphs_figure(graphs, list(contents[0]["class_names"])), folder, "label_graphs")
    if curves:
        written += save(curves_figure(curves), folder, "label_correction")
    if not written:
        raise ConfigError(
            "there is nothing to draw: give image files or --data SPLIT for class maps; curves come from runs trained "
            "with diagnostics=label_correction, graphs from methods that learn one"
        )
    for path in written:
        console.print(str(path))
    return DONE


def sort_arguments(things: list[str]) -> tuple[list[Path], list[str], list[str]]:
    """Return checkpoints (files ending in .pt, or run folders), images, and ``path=value`` assignments.

    Raises:
        ConfigError: there is no checkpoint among them.
    """
    checkpoints: list[Path] = []
    images: list[str] = []
    assignments: list[str] = []
    for thing in things:
        path = Path(thing)
        if path.suffix == ".pt":
            checkpoints.append(path)
        elif (path / "best.pt").is_file():
            checkpoints.append(path / "best.pt")
        elif "=" in thing and not path.exists():
            assignments.append(thing)
        else:
            images.append(thing)
    if not checkpoints:
        raise ConfigError(f"explain needs a checkpoint (best.pt, or a run folder that holds one), got {things}")
    return checkpoints, images, assignments


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG; return the files."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    # Text stays text in the SVG, and ids come from the name, so the same figure gives the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(files[0], dpi=DPI)
        figure.savefig(files[1], metadata={"Date": None})
    return files
