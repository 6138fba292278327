"""Draw what each label setting shows of one small truth: ``python docs/draw_settings.py`` writes docs/images/settings.

The labels are drawn by the mechanisms themselves, with the default ``data.observation_seed``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelArray
from plml.observation import observe

FOLDER = Path(__file__).parent / "images" / "settings"
SEED = 1200
IMAGES, CLASSES = 8, 6
# Settings that take labels from somewhere else draw nothing.
SETTINGS: dict[str, dict[str, Any]] = {
    "fully_observed": {},
    "single_positive": {},
    "biased_single_positive": {"bias": "semantic"},
    "positives_negatives": {},
    "all_negatives": {},
    "positives_left": {},
    "missing_positives": {},
    "known_fraction": {},
    "random_per_sample": {},
    "fixed_per_class": {"count": 1},
    "known_per_class": {"fraction": 0.4},
    "candidate_set": {"rate": 0.2},
}
CELL, GAP, LEFT, TOP = 18, 2, 14, 34
COLOURS = {POSITIVE: "#1f4e9c", NEGATIVE: "#f2c9a1", UNKNOWN: "#eeeeee"}
SIGNS = {POSITIVE: ("+", "#ffffff"), NEGATIVE: ("\N{MINUS SIGN}", "#7a4a1d"), UNKNOWN: ("?", "#9a9a9a")}


def truth() -> LabelArray:
    """Return the true labels (8, 6) of all pictures: two to three positives an image, the first class frequent."""
    rng = np.random.default_rng(3)
    labels = (rng.random((IMAGES, CLASSES)) < np.linspace(0.75, 0.25, CLASSES)).astype(np.int8)
    labels[~labels.any(axis=1), 0] = POSITIVE
    return labels


def observed(name: str) -> LabelArray:
    """Return what a setting shows of :func:`truth`, (8, 6)."""
    return observe(truth(), {"name": name, **SETTINGS[name]}, SEED)


def picture(name: str) -> str:
    """Return the SVG of a setting: the truth on the left, what is observed on the right."""
    shown, true = observed(name), truth()
    width = LEFT + 2 * CLASSES * (CELL + GAP) + 60 + LEFT
    height = TOP + IMAGES * (CELL + GAP) + 26
    right = LEFT + CLASSES * (CELL + GAP) + 60
    seen = [f"{(shown == value).sum()} of {(true == value).sum()} {word}" for value, word in _WORDS]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 16, "truth"),
        _text(right, 16, "observed"),
        _text(LEFT + CLASSES * (CELL + GAP) + 20, TOP + IMAGES * (CELL + GAP) / 2, "\N{RIGHTWARDS ARROW}", size=22),
        *_matrix(true, LEFT),
        *_matrix(shown, right),
        _text(LEFT, height - 8, f"known: {seen[0]}, {seen[1]}", size=11),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


_WORDS = ((POSITIVE, "positives"), (NEGATIVE, "negatives"))


def _matrix(labels: LabelArray, left: int) -> list[str]:
    """Return the cells of a matrix, one image a row."""
    parts = []
    for (row, column), value in np.ndenumerate(labels):
        x, y = left + column * (CELL + GAP), TOP - 8 + row * (CELL + GAP)
        sign, colour = SIGNS[value]
        parts.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3" fill="{COLOURS[value]}"/>')
        parts.append(_text(x + CELL / 2, y + CELL / 2 + 4, sign, colour=colour, anchor="middle"))
    return parts


def _text(x: float, y: float, text: str, *, size: int = 12, colour: str = "#333333", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">{text}</text>'


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for setting in SETTINGS:
        (FOLDER / f"{setting}.svg").write_text(picture(setting), encoding="utf-8")
