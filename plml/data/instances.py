"""COCO's instances JSON: images, categories and boxes, read once into compact arrays.

Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312. An image has a class if any
instance of it is annotated, crowds included. Every data set in this format is read here; the options say where the
files lie and in which order rows and classes come.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plml.data.boxes import Boxes, measure
from plml.data.files import others_like, require_images, require_unique
from plml.data.parsed import parsed
from plml.data.source import Part
from plml.errors import DataError
from plml.labels import NEGATIVE, POSITIVE, LabelArray

# string: ids compared as text, so that 100 comes before 99 (Cole et al.); number: by value (CoNeS).
RowOrder = Literal["string", "number"]
# list: as the file lists its categories (Cole et al.); id: by ascending category id (CoNeS). Equal in COCO's own files.
ClassOrder = Literal["list", "id"]


@dataclass(frozen=True)
class Instances:
    """What one file holds: N images, L categories in the file's order, M annotations.

    Attributes:
        path: the file.
        ids: N image ids.
        file_names: N names below the image folder.
        sizes: (N, 2) width and height in pixels; NaN where the file does not say.
        category_ids: L ids.
        category_names: L names.
        rows: (M,) int64, image of each annotation.
        columns: (M,) int64, category of each annotation.
        boxes: (M, 4) left, top, width, height; NaN where the file does not say.
    """

    path: Path
    ids: Sequence[int | str]
    file_names: Sequence[str]
    sizes: NDArray[np.float64]
    category_ids: Sequence[int]
    category_names: Sequence[str]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    boxes: NDArray[np.float64]


def read_instances(path: Path) -> Instances:
    """Read an instances JSON; raise DataError naming the file and the entry that is wrong."""
    try:
        stat = path.stat()
    except OSError as error:
        hint = others_like(path, "*.json")
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected COCO's instances JSON{hint}") from None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)  # train and test; many trials of one process read the same half a gigabyte
def _read(path: Path, _modified: int, _size: int) -> Instances:
    arrays = parsed(path, "instances 1", lambda: _checked(path))
    ids: Sequence[int | str] = arrays["ids"].tolist()
    return Instances(
        path=path,
        ids=ids,
        file_names=arrays["file_names"].tolist(),
        sizes=arrays["sizes"],
        category_ids=arrays["category_ids"].tolist(),
        category_names=arrays["category_names"].tolist(),
        rows=arrays["rows"],
        columns=arrays["columns"],
        boxes=arrays["boxes"],
    )


def _checked(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        return _parse(path)
    except (TypeError, ValueError, OverflowError) as error:  # a list for a number, a box of three sides
        raise DataError(f"{path}: is not COCO's instances JSON ({type(error).__name__}: {error})") from None


def _parse(path: Path) -> Mapping[str, NDArray[Any]]:
    tree = _load(path)
    images, annotations, categories = (_entries(path, tree, key) for key in ("images", "annotations", "categories"))
    ids = [_field(path, "images", image, "id") for image in images]
    if not all(isinstance(image_id, int) for image_id in ids):
        ids = list(map(str, ids))
    file_names = [str(_field(path, "images", image, "file_name")) for image in images]
    if not ids:
        raise DataError(f"{path}: 'images' is empty")
    require_unique(list(map(str, ids)), path)
    require_unique(file_names, path)
    category_ids = [int(_field(path, "categories", category, "id")) for category in categories]
    names = [str(_field(path, "categories", category, "name")) for category in categories]
    require_unique(list(map(str, category_ids)), path)
    require_unique(names, path)
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    column_of = {category_id: column for column, category_id in enumerate(category_ids)}
    missing = [np.nan] * 4
    return {
        "ids": np.array(ids),
        "file_names": np.array(file_names),
        "sizes": np.array([[i.get("width", np.nan), i.get("height", np.nan)] for i in images], dtype=np.float64),
        "category_ids": np.array(category_ids, dtype=np.int64),
        "category_names": np.array(names),
        "rows": _places(path, annotations, "image_id", row_of, "images"),
        "columns": _places(path, annotations, "category_id", column_of, "categories"),
        "boxes": np.array([a.get("bbox") or missing for a in annotations], dtype=np.float64).reshape(-1, 4),
    }


def _load(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            tree = json.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected COCO's instances JSON") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not whole JSON ({error}); expected COCO's instances JSON") from None
    if not isinstance(tree, dict):
        raise DataError(
            f"{path}: expected an object with images, annotations and categories, got {type(tree).__name__}"
        )
    return tree


def _entries(path: Path, tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = tree.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: has no list '{key}'; expected COCO's instances JSON, found {', '.join(sorted(tree))}")
    return entries


def _field(path: Path, kind: str, entry: Mapping[str, Any], key: str) -> Any:
    if key not in entry:
        raise DataError(f"{path}: an entry of '{kind}' has no '{key}': {json.dumps(entry)[:120]}")
    return entry[key]


def _places(
    path: Path, annotations: list[Mapping[str, Any]], key: str, place_of: Mapping[Any, int], kind: str
) -> NDArray[np.int64]:
    """Return where each annotation's image or category stands."""
    as_text = any(isinstance(name, str) for name in place_of)
    values = (annotation.get(key) for annotation in annotations)
    places = [place_of.get(str(value) if as_text else value, -1) for value in values]
    if -1 in places:
        annotation = annotations[places.index(-1)]
        raise DataError(
            f"{path}: annotation {annotation.get('id')} has {key} {annotation.get(key)}, which is not in '{kind}' "
            f"({places.count(-1)} such annotations)"
        )
    return np.array(places, dtype=np.int64)


def class_columns(instances: Instances, class_order: ClassOrder) -> NDArray[np.int64]:
    """Return the categories' places in the order in which they become classes."""
    places = np.arange(len(instances.category_ids), dtype=np.int64)
    return places if class_order == "list" else np.argsort(instances.category_ids, kind="stable").astype(np.int64)


def instances_part(
    instances: Instances, folder: Path, *, order: RowOrder, class_order: ClassOrder, keep_unlabelled: bool
) -> Part:
    """Return the images of a file as a part; ids are the file names.

    Args:
        instances: the file.
        folder: where the images lie.
        order: of the rows.
        class_order: of the columns.
        keep_unlabelled: keep images without annotations, whose labels are all negative.

    Raises:
        DataError: an image is missing, or none has an annotation.
    """
    columns = class_columns(instances, class_order)
    truth: LabelArray = np.full((len(instances.ids), len(columns)), NEGATIVE, dtype=np.int8)
    truth[instances.rows, np.argsort(columns)[instances.columns]] = POSITIVE
    rows = sorted(range(len(instances.ids)), key=lambda row: _sort_key(instances.ids[row], order))
    if not keep_unlabelled:
        annotated = np.isin(np.arange(len(instances.ids)), instances.rows)
        rows = [row for row in rows if annotated[row]]
    if not rows:
        raise DataError(f"{instances.path}: no image has an annotation")
    names = [instances.file_names[row] for row in rows]
    kept = np.array(rows, dtype=np.int64)
    return Part(
        ids=names,
        truth=truth[kept],
        paths=require_images(folder, names, instances.path),
        evidence=partial(_evidence, instances, kept, columns) if _has_boxes(instances) else None,
    )


def _sort_key(image_id: int | str, order: RowOrder) -> tuple[int, str]:
    """Ids that are text have no value, so they are compared as text either way."""
    return (image_id, "") if order == "number" and isinstance(image_id, int) else (0, str(image_id))


def _has_boxes(instances: Instances) -> bool:
    return bool(
        np.isfinite(instances.boxes).all() and np.isfinite(instances.sizes).all() and (instances.sizes > 0).all()
    )


def _evidence(
    instances: Instances, kept: NDArray[np.int64], columns: NDArray[np.int64]
) -> Mapping[str, NDArray[np.float32]]:
    boxes: Boxes = measure(
        instances.rows, np.argsort(columns)[instances.columns], instances.boxes, instances.sizes[instances.rows]
    )
    values = boxes.evidence((len(instances.ids), len(columns)))
    return {key: array[kept] for key, array in values.items()}
