"""Data set `vg256`: Visual Genome with 256 categories of objects.

Krishna et al., Visual Genome, IJCV 2017, arXiv:1602.07332, in the selection that CoNeS (IEEE TCSVT 2025) and earlier
work use. Layout: ``objects.json`` (release 1.2), the category file ``vg256.json``, a mapping from category to the
object names that belong to it, and the images ``VG_100K/<image id>.jpg``.

The first name of an object counts, in lower case and without a full stop at its end. A name of several words loses
the words before the last if all of them are common adjectives of colour, size or material. Images without any category
are left out; the others are sorted by id and split 70/30 by ``RandomState(1)``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from plml.data.digest import source_digest
from plml.data.files import others_like, require_folder, require_images
from plml.data.partition import take
from plml.data.source import DataSet, Part, Source
from plml.data.split import split_rows
from plml.errors import DataError
from plml.labels import NEGATIVE, POSITIVE, LabelArray

# fmt: off
ADJECTIVES = frozenset({
    "black", "blue", "brown", "dark", "gray", "green", "grey", "large", "long", "metal", "orange", "pink", "red",
    "silver", "small", "tall", "white", "wooden", "yellow",
})
# fmt: on
TEST_SHARE, SPLIT_SEED = 0.3, 1


class Vg256(DataSet, name="vg256"):
    """Visual Genome, 256 categories; paths are relative to the root.

    Args:
        objects: objects of every image.
        categories: object names of every category.
        image_folder: where the images lie; images of both archives are in one folder.
    """

    summary = "Visual Genome, 256 categories; root: the folder that holds objects.json and vg256.json"

    def __init__(
        self, *, objects: str = "objects.json", categories: str = "vg256.json", image_folder: str = "VG_100K"
    ) -> None:
        self.objects, self.categories, self.image_folder = objects, categories, image_folder

    def read(self, root: Path | None) -> Source:
        """Read objects and categories under ``root`` and find every image."""
        base = require_folder(root, self.name, f"the folder that holds {self.objects} and {self.categories}")
        class_names, column_of = _categories(base / self.categories)
        labels = _labels(base / self.objects, column_of)
        if not labels:
            raise DataError(f"{base / self.objects}: no image has an object of {base / self.categories}")
        ids = sorted(labels)
        truth: LabelArray = np.full((len(ids), len(class_names)), NEGATIVE, dtype=np.int8)
        for row, image_id in enumerate(ids):
            truth[row, sorted(labels[image_id])] = POSITIVE
        names = [str(image_id) for image_id in ids]
        paths = require_images(base / self.image_folder, [f"{name}.jpg" for name in names], base / self.objects)
        everything = Part(ids=names, truth=truth, paths=paths)
        train, test = (take(everything, rows) for rows in split_rows(len(ids), TEST_SHARE, SPLIT_SEED))
        return Source(
            name=self.name,
            class_names=class_names,
            train=train,
            test=test,
            digest=source_digest(class_names, [train, None, test]),
        )


def clean_name(name: str) -> str:
    """Return an object name as the categories list it.

    >>> clean_name("Small White Dog."), clean_name("hot dog"), clean_name("white")
    ('dog', 'hot dog', 'white')
    """
    text = name.lower().strip().removesuffix(".").strip()
    words = text.split()
    return words[-1] if len(words) > 1 and ADJECTIVES.issuperset(words[:-1]) else text


def _categories(path: Path) -> tuple[list[str], dict[str, int]]:
    """Return category names and the column of each object name."""
    tree = _load(path, "a mapping from category to object names")
    if not isinstance(tree, dict) or not all(isinstance(names, list) for names in tree.values()):
        raise DataError(f"{path}: must be a mapping from category to a list of object names")
    return list(tree), {str(name): column for column, names in enumerate(tree.values()) for name in names}


def _labels(path: Path, column_of: dict[str, int]) -> dict[int, set[int]]:
    """Return the categories of each image that has any."""
    labels: dict[int, set[int]] = {}
    try:
        for image in _load(path, "Visual Genome's objects"):
            found = {column_of.get(clean_name(item["names"][0])) for item in image["objects"] if item["names"]}
            columns = {column for column in found if column is not None}
            if columns:
                labels[int(image["image_id"])] = columns
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is not Visual Genome's objects.json ({type(error).__name__}: {error})") from None
    return labels


def _load(path: Path, expected: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        hint = others_like(path, "*.json")
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {expected}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not whole JSON ({error}); expected {expected}") from None
