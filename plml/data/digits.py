"""Data set `digits`: multi-label scenes composed from real handwritten digits; needs no download.

The digits are the 1,797 8x8 images of the UCI "Optical Recognition of Handwritten Digits" test set (Alpaydin and
Kaynak, 1998) that scikit-learn ships. Each digit image is used in one part only, so no stroke of a test scene was
seen in training.

A scene holds m distinct digits, m drawn from ``COUNT_PROBABILITIES``. The first one is uniform; each further one is
drawn with a probability proportional to the product of its ``affinity`` to all digits drawn so far. Digits of one
group come together much more often than chance, neighbours across a group's border somewhat more often:
that is the structure a label graph can use. :func:`co_occurrence` gives the resulting probabilities exactly.
"""

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plml.data.digest import source_digest
from plml.data.source import DataSet, Part, Source
from plml.errors import DataError
from plml.labels import NEGATIVE, POSITIVE, LabelArray

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GROUPS = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))
COUNT_PROBABILITIES = (0.03, 0.05, 0.12, 0.25, 0.30, 0.25)  # of 0, 1, ..., 5 distinct digits in a scene
PART_SHARES = (0.6, 0.15, 0.25)  # of the source digits of each class: train, val, test

_WITHIN_GROUP, _NEIGHBOUR = 5.0, 2.0  # affinities; 1 for all other pairs
_SCALE = (11, 15)  # side of a digit in pixels on the default canvas, both ends included
_CONTRAST = (120, 255)  # brightness of a digit's darkest-to-brightest stroke, of 255
_NOISE, _CLUTTER = 32, 1  # amplitude of the pixel noise; mean number of stray stroke pieces
_PLACES = 4  # places tried for a digit
_CANVAS = 40

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Canvas = Annotated[int, Field(ge=24, le=256)]


def affinity() -> NDArray[np.float64]:
    """Return the fixed symmetric (10, 10) matrix of how readily two digits share a scene; the diagonal is 0."""
    matrix = np.ones((10, 10))
    for i in range(9):
        matrix[i, i + 1] = matrix[i + 1, i] = _NEIGHBOUR
    for group in GROUPS:
        matrix[np.ix_(group, group)] = _WITHIN_GROUP
    np.fill_diagonal(matrix, 0.0)
    return matrix


@lru_cache(maxsize=1)
def _joint() -> NDArray[np.float64]:
    weights, joint = affinity(), np.zeros((10, 10))

    def visit(drawn: list[int], readiness: NDArray[np.float64], probability: float) -> None:
        """Add the scenes that hold exactly ``drawn``, drawn in this order with ``probability``, and longer ones."""
        joint[np.ix_(drawn, drawn)] += COUNT_PROBABILITIES[len(drawn)] * probability
        if len(drawn) + 1 < len(COUNT_PROBABILITIES):
            for digit, share in enumerate(readiness / readiness.sum()):
                if share > 0:
                    visit([*drawn, digit], readiness * weights[digit], probability * share)

    visit([], np.ones(10), 1.0)
    return joint


def co_occurrence() -> NDArray[np.float64]:
    """Return the exact (10, 10) probabilities that digits i and j are both in a scene; diagonal: prevalence."""
    return _joint().copy()


def expected_positives() -> float:
    """Return the mean number of digits a scene, exactly."""
    return float(sum(count * share for count, share in enumerate(COUNT_PROBABILITIES)))


class Digits(DataSet, name="digits"):
    """Scenes of handwritten digits; the parts have disjoint source digits.

    Args:
        num_train: training scenes.
        num_val: validation scenes, a part of its own.
        num_test: test scenes.
        scene_seed: draws the partition of the source digits and all scenes; labels shown and split have other seeds.
        canvas: side of a scene in pixels; digits keep their share of it.
    """

    summary = "multi-label scenes of real handwritten digits, composed on the spot (scikit-learn's digits)"

    def __init__(
        self,
        *,
        num_train: Size = 2000,
        num_val: Size = 500,
        num_test: Size = 1000,
        scene_seed: Annotated[int, Field(ge=0)] = 0,
        canvas: Canvas = _CANVAS,
    ) -> None:
        self.sizes = (num_train, num_val, num_test)
        self.scene_seed = scene_seed
        self.canvas = canvas

    def read(self, root: Path | None) -> Source:
        """Compose the scenes; ``root`` is not used, because the digits come with scikit-learn."""
        return _compose(self.sizes, self.scene_seed, self.canvas)


@lru_cache(maxsize=2)
def _compose(sizes: tuple[int, int, int], scene_seed: int, canvas: int) -> Source:
    digits, classes = source_digits()
    partition = partition_digits(classes, scene_seed)
    parts = [
        _part(name, number, size, digits, [rows[classes[rows] == c] for c in range(10)], scene_seed, canvas)
        for number, (name, size, rows) in enumerate(zip(("train", "val", "test"), sizes, partition, strict=True))
    ]
    train, val, test = parts
    # The pixels follow from these numbers, and labels and names alone would not tell two canvases apart.
    recipe = f"canvas={canvas} scale={_SCALE} contrast={_CONTRAST} noise={_NOISE} clutter={_CLUTTER}"
    return Source(
        name="digits",
        class_names=CLASS_NAMES,
        train=train,
        val=val,
        test=test,
        expected_positives=expected_positives(),
        image_size=canvas,
        flip=False,
        digest=source_digest(CLASS_NAMES, parts, recipe),
    )


@lru_cache(maxsize=1)
def source_digits() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return images (1797, 8, 8) with values 0..16, and classes (1797,), as ``sklearn.datasets.load_digits`` does.

    Its file is read directly: importing ``sklearn.datasets`` takes seconds, which every worker would spend.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("data set 'digits' is made of the digits that scikit-learn ships; install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",").astype(np.int64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); expected the digits that scikit-learn ships") from None
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1]


def partition_digits(classes: NDArray[np.int64], scene_seed: int) -> list[NDArray[np.int64]]:
    """Return the rows of the source digits that train, val and test may use: disjoint, class by class."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scene_seed, 9])))
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for c in range(10):
        rows = rng.permutation(np.flatnonzero(classes == c))
        first, second = (np.cumsum(PART_SHARES)[:2] * len(rows)).astype(int)
        for part, chosen in zip(parts, np.split(rows, [first, second]), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def _part(
    name: str,
    number: int,
    size: int,
    digits: NDArray[np.int64],
    rows_of: list[NDArray[np.int64]],
    scene_seed: int,
    canvas: int,
) -> Part:
    """Compose one part from its own random stream, so that its scenes do not depend on the other parts' sizes."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scene_seed, number])))
    weights = affinity()
    truth: LabelArray = np.full((size, 10), NEGATIVE, dtype=np.int8)
    images = np.empty((size, canvas, canvas, 1), dtype=np.uint8)
    for i in range(size):
        chosen = _draw_labels(rng, weights)
        truth[i, chosen] = POSITIVE
        images[i, :, :, 0] = _draw_scene(rng, [digits[rng.choice(rows_of[c])] for c in chosen], digits, rows_of, canvas)
    images.setflags(write=False)  # the scenes are composed once and shared by all who read them
    truth.setflags(write=False)
    return Part(ids=[f"{name}_{i:06d}" for i in range(size)], truth=truth, images=images)


def _draw_labels(rng: np.random.Generator, weights: NDArray[np.float64]) -> list[int]:
    chosen: list[int] = []
    readiness = np.ones(10)
    for _ in range(rng.choice(len(COUNT_PROBABILITIES), p=COUNT_PROBABILITIES)):
        chosen.append(int(rng.choice(10, p=readiness / readiness.sum())))
        readiness = readiness * weights[chosen[-1]]
    return chosen


def _draw_scene(
    rng: np.random.Generator,
    glyphs: list[NDArray[np.int64]],
    digits: NDArray[np.int64],
    rows_of: list[NDArray[np.int64]],
    canvas: int,
) -> NDArray[np.uint8]:
    """Place the glyphs on a noisy ground; where strokes meet, the brighter one is seen. Integers only: exact."""
    scene = np.zeros((canvas, canvas), dtype=np.int64)
    for _ in range(rng.poisson(_CLUTTER)):  # stray strokes: a quarter of some digit, too little to be one
        top, left = rng.integers(0, 5, size=2)
        piece = digits[rng.choice(rows_of[rng.integers(10)])][top : top + 4, left : left + 4]
        _paste(rng, scene, piece, canvas, share=2)
    for glyph in glyphs:
        _paste(rng, scene, glyph, canvas, share=1)
    noise = rng.integers(0, _NOISE + 1, size=scene.shape) + rng.integers(0, _NOISE + 1, size=scene.shape)
    return np.clip(scene + noise - _NOISE // 2, 0, 255).astype(np.uint8)


def _paste(
    rng: np.random.Generator, scene: NDArray[np.int64], glyph: NDArray[np.int64], canvas: int, *, share: int
) -> None:
    side = int(rng.integers(_SCALE[0], _SCALE[1] + 1)) * canvas // _CANVAS // share
    # Of a few random places the emptiest one: digits overlap at the edges, but seldom bury one another.
    corners = rng.integers(0, canvas - side + 1, size=(_PLACES, 2))
    covered = [np.count_nonzero(scene[top : top + side, left : left + side]) for top, left in corners]
    top, left = corners[int(np.argmin(covered))]
    brightness = rng.integers(_CONTRAST[0], _CONTRAST[1] + 1)
    strokes = enlarge(glyph, side) * brightness // 16
    window = scene[top : top + side, left : left + side]
    np.maximum(window, strokes, out=window)


def enlarge(glyph: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Resize a square glyph to (side, side) bilinearly, in fixed point so that every machine gives the same."""
    weights = _weights(len(glyph), side)
    return (weights @ glyph @ weights.T) >> 16


@lru_cache(maxsize=64)
def _weights(source: int, side: int) -> NDArray[np.int64]:
    """Return (side, source) interpolation weights in 1/256; each row sums to 256."""
    centre = np.clip((2 * np.arange(side) + 1) * source * 128 // side - 128, 0, (source - 1) * 256)
    low, part = centre // 256, centre % 256
    weights = np.zeros((side, source), dtype=np.int64)
    weights[np.arange(side), low] += 256 - part
    weights[np.arange(side), np.minimum(low + 1, source - 1)] += part
    return weights
