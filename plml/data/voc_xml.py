"""PASCAL VOC's Annotations XML: boxes of each image, for biased label settings and for the doctor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree  # nosec B405

import numpy as np
from numpy.typing import NDArray

from plml.data.boxes import Boxes, measure
from plml.errors import DataError, nearest
from plml.labels import NEGATIVE, POSITIVE, LabelArray


@dataclass(frozen=True)
class Annotations:
    """Objects of N images.

    Attributes:
        boxes: those of objects that are not marked "difficult".
        truth: (N, L) int8, POSITIVE where the image has an object that is not difficult, else NEGATIVE.
        difficult_only: (N, L) bool, all objects of the class are difficult.
    """

    boxes: Boxes
    truth: LabelArray
    difficult_only: NDArray[np.bool_]


def read_annotations(folder: Path, ids: Sequence[str], class_names: Sequence[str]) -> Annotations:
    """Read ``<id>.xml`` of all images; raise DataError naming a file that is missing or damaged."""
    column_of = {name: column for column, name in enumerate(class_names)}
    shape = (len(ids), len(class_names))
    truth: LabelArray = np.full(shape, NEGATIVE, dtype=np.int8)
    difficult = np.zeros(shape, dtype=bool)
    rows, columns, boxes, sizes = [], [], [], []
    for row, image in enumerate(ids):
        path = folder / f"{image}.xml"
        root = _parse(path)
        size = _numbers(path, root, "size", ("width", "height"))
        for item in root.iter("object"):
            name = item.findtext("name", "").strip()
            if name not in column_of:
                raise DataError(f"{path}: has an object '{name}', which is no class of VOC{nearest(name, column_of)}")
            column = column_of[name]
            if item.findtext("difficult", "0").strip() == "1":
                difficult[row, column] = True
                continue
            left, top, right, bottom = _numbers(path, item, "bndbox", ("xmin", "ymin", "xmax", "ymax"))
            truth[row, column] = POSITIVE
            rows.append(row)
            columns.append(column)
            boxes.append((left - 1, top - 1, right - left + 1, bottom - top + 1))  # VOC counts from 1, ends included
            sizes.append(size)
    return Annotations(
        boxes=measure(
            np.array(rows, dtype=np.int64),
            np.array(columns, dtype=np.int64),
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(sizes, dtype=np.float64).reshape(-1, 2),
        ),
        truth=truth,
        difficult_only=difficult & (truth == NEGATIVE),
    )


def voc_evidence(folder: Path, ids: Sequence[str], class_names: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
    """Return the evidence of :class:`plml.data.source.Part` for VOC images; opens one file an image."""
    return read_annotations(folder, ids, class_names).boxes.evidence((len(ids), len(class_names)))


def _parse(path: Path) -> ElementTree.Element:
    try:
        # No external entity is ever read, and expat refuses those that explode.
        return ElementTree.fromstring(path.read_bytes())  # noqa: S314 # nosec B314
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected VOC's annotation of an image") from None
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: is not whole XML ({error}); expected VOC's annotation of an image") from None


def _numbers(path: Path, element: ElementTree.Element, group: str, names: Sequence[str]) -> list[float]:
    try:
        return [float(element.findtext(f"{group}/{name}", "")) for name in names]
    except ValueError:
        raise DataError(f"{path}: expected numbers {', '.join(names)} in <{group}> of <{element.tag}>") from None
