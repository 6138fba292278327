"""Draws class maps over the images: a row an image, a column a class and model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plml.explain.maps import ClassMap, Scale, heat, shown_classes
from plml.explain.subjects import Subject
from plml.tracking_view import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 1.75  # inches of a picture
COLORS = "turbo"
OPACITY = 0.65  # of the strongest heat
NAME_CHARS = 22


def maps_figure(
    subjects: Sequence[Subject],
    maps: Sequence[Sequence[Sequence[ClassMap]]],
    names: Sequence[str],
    *,
    classes: int = 2,
    scale: Scale = "own",
) -> "Figure":
    """Return the figure.

    Args:
        subjects: N images.
        maps: by image and model, the maps of all classes.
        names: of the models.
        classes: at most so many classes an image.
        scale: see :func:`plml.explain.maps.heat`.
    """
    from matplotlib.figure import Figure

    shown = [shown_classes(subject, own, classes) for subject, own in zip(subjects, maps, strict=True)]
    groups, models = max(map(len, shown)), len(names)
    columns = 1 + groups * models
    # A narrow empty column sets classes apart.
    widths = [1.0] + [width for _ in range(groups) for width in [0.12, *([1.0] * models)]]
    head = 0.5
    size = (SIDE * sum(widths) + 0.04 * columns, (SIDE + 0.24) * len(subjects) + head)
    figure = Figure(figsize=size)
    grid = figure.add_gridspec(
        len(subjects), len(widths), width_ratios=widths, left=0.01, right=0.99, top=1 - head / size[1], bottom=0.01
    )
    grid.update(wspace=0.04, hspace=0.16)
    for row, (subject, own, chosen) in enumerate(zip(subjects, maps, shown, strict=True)):
        axes = figure.add_subplot(grid[row, 0])
        _show(axes, subject.pixels[0])
        axes.set_title(_short(subject.name), fontsize=7.5, loc="left", pad=2.5, color="#444444")
        for group, name in enumerate(chosen):
            found = [next(one for one in of_model if one.class_name == name) for of_model in own]
            heats = heat([one.values for one in found], scale)
            for place, (one, values) in enumerate(zip(found, heats, strict=True)):
                axes = figure.add_subplot(grid[row, 2 + group * (models + 1) + place])
                _show(axes, subject.pixels[place], values)
                axes.set_title(_short(name, 16), fontsize=8, loc="left", pad=2.5, fontweight="bold")
                axes.set_title(f"{one.probability:.2f}", fontsize=8, loc="right", pad=2.5)
    for group in range(groups):
        for place, name in enumerate(names):
            box = grid[0, 2 + group * (models + 1) + place].get_position(figure)
            figure.text(
                (box.x0 + box.x1) / 2,
                1 - 0.16 / size[1],
                name,
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold",
                color=PALETTE[place % len(PALETTE)],
            )
    return figure


def _show(axes: "Axes", pixels: NDArray[np.uint8], values: NDArray[np.float64] | None = None) -> None:
    """Show an image (S, S, C), under the heat of its class map where there is one."""
    photo = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    if values is not None:
        gray = photo.mean(axis=2, keepdims=True)
        photo = (0.35 * photo + 0.65 * gray).astype(np.uint8)  # so that the colours are those of the heat
    axes.imshow(photo)
    if values is not None:
        smooth = _enlarged(values, photo.shape[0])
        axes.imshow(smooth, cmap=COLORS, vmin=0, vmax=1, alpha=OPACITY * smooth)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _enlarged(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return a map (h, w) at the size of the image, (side, side), in [0, 1]."""
    image = Image.fromarray(values.astype(np.float32), mode=None).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64).clip(0.0, 1.0)


def _short(text: str, chars: int = NAME_CHARS) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"
