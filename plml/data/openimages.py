"""Data sets `openimages_v3` and `openimages_v6`: image-level labels that people verified, and nothing else.

Krasin et al., OpenImages, 2017 (V3, release 2017_11); Kuznetsova et al., The Open Images Dataset V4, IJCV 2020,
arXiv:1811.00982 (V6). A line of the annotations is ``ImageID,Source,LabelName,Confidence`` with confidence 1 (verified
positive) or 0 (verified negative). Every other label is UNKNOWN: these are real partial labels, so the setting is
``as_given`` and evaluation looks at known entries only (criterion ``known_map``; group means in
:mod:`plml.group_means`). Machine-generated labels are not read.

Layouts, below the root:

* V3: ``{train,validation,test}/annotations-human.csv``, ``classes-trainable.txt``, ``class-descriptions.csv``;
* V6: ``{train,validation,test}-annotations-human-imagelabels.csv``, ``oidv6-classes-trainable.txt``,
  ``oidv6-class-descriptions.csv``; the prefix ``oidv6-`` may be absent.

An image is ``<image_root>/<train, validation or test>/<ImageID>.jpg``. The label matrix is dense int8, one byte an
entry: all of V3's training images by 5,000 classes would be about 17 GB, so a larger matrix than
``max_matrix_gib`` is refused; ``max_images`` or ``subset`` take fewer images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from plml.data.digest import source_digest
from plml.data.files import others_like, read_lines, require_folder, require_images, require_unique
from plml.data.source import DataSet, Part, Source
from plml.data.tables import read_table
from plml.data.verified_labels import fill_matrix, read_verified
from plml.errors import DataError
from plml.user_path import user_path

PARTS = {"train": "train", "val": "validation", "test": "test"}

MaxImages = Annotated[int, Field(ge=1, description="of each part: the first by id, and ids are random numbers")]
Gibibytes = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class _Layout:
    """Where a release keeps its files; the first name that exists counts."""

    annotations: tuple[str, ...]
    trainable: tuple[str, ...]
    descriptions: tuple[str, ...]


_V3 = _Layout(("{part}/annotations-human.csv",), ("classes-trainable.txt",), ("class-descriptions.csv",))
_V6 = _Layout(
    ("{part}-annotations-human-imagelabels.csv", "oidv6-{part}-annotations-human-imagelabels.csv"),
    ("oidv6-classes-trainable.txt", "classes-trainable.txt"),
    ("oidv6-class-descriptions.csv", "class-descriptions.csv"),
)


class _OpenImages:
    """What both releases share."""

    def __init__(
        self, layout: _Layout, image_root: str, subset: str | None, max_images: int | None, max_matrix_gib: float
    ) -> None:
        self.layout = layout
        self.image_root = image_root
        self.subset, self.max_images, self.max_matrix_gib = subset, max_images, max_matrix_gib

    def read(self, root: Path | None, name: str) -> Source:
        base = require_folder(root, name, f"the folder that holds {self.layout.trainable[0]}")
        classes = _Classes.read(base, self.layout)
        wanted = None
        if self.subset is not None:
            wanted = frozenset(line.strip() for line in read_lines(base / self.subset, "image ids, one a line"))
        parts = {part: self._part(base, folder, classes, wanted) for part, folder in PARTS.items()}
        return Source(
            name=name,
            class_names=classes.names,
            train=parts["train"],
            val=parts["val"],
            test=parts["test"],
            digest=source_digest(classes.names, parts.values()),
            notes=["labels nobody verified are unknown: use data.observation as_given, selection.criterion known_map"],
        )

    def _part(self, base: Path, folder: str, classes: "_Classes", wanted: frozenset[str] | None) -> Part:
        path = _first(base, [name.format(part=folder) for name in self.layout.annotations])
        verified = read_verified(path, classes.column_of, wanted)
        ids = sorted(verified.ids)[: self.max_images]
        truth = fill_matrix(verified, ids, len(classes.names), self.max_matrix_gib, path)
        images = base / user_path(self.image_root) / folder
        return Part(
            ids=ids,
            truth=truth,
            paths=require_images(images, [f"{image}.jpg" for image in ids], path),
            observed=truth,
        )


class OpenImagesV3(DataSet, name="openimages_v3"):
    """OpenImages V3, 5,000 trainable classes.

    Args:
        image_root: folder of the image folders, relative to the root.
        subset: file of image ids, one a line, that are used; others are left out.
        max_images: of each part.
        max_matrix_gib: largest label matrix that is built, in GiB.
    """

    summary = "OpenImages V3, human-verified image-level labels; root: the folder of release 2017_11"
    release: ClassVar[_Layout] = _V3

    def __init__(
        self,
        *,
        image_root: str = "images",
        subset: str | None = None,
        max_images: MaxImages | None = None,
        max_matrix_gib: Gibibytes = 2.0,
    ) -> None:
        self._reader = _OpenImages(self.release, image_root, subset, max_images, max_matrix_gib)

    def read(self, root: Path | None) -> Source:
        """Read annotations and classes under ``root``, and find every image."""
        return self._reader.read(root, self.name)


class OpenImagesV6(OpenImagesV3, name="openimages_v6"):
    """OpenImages V6, its trainable classes; arguments as for V3."""

    summary = "OpenImages V6, human-verified image-level labels; root: the folder of its CSV files"
    release = _V6


@dataclass(frozen=True)
class _Classes:
    """The trainable classes: names for people and the column of each machine id."""

    names: Sequence[str]
    column_of: dict[str, int]

    @classmethod
    def read(cls, base: Path, layout: _Layout) -> "_Classes":
        trainable = _first(base, layout.trainable)
        mids = [line.strip() for line in read_lines(trainable, "machine ids of classes, one a line")]
        require_unique(mids, trainable)
        descriptions = _first(base, layout.descriptions)
        name_of = dict(_descriptions(descriptions))
        missing = [mid for mid in mids if mid not in name_of]
        if missing:
            raise DataError(f"{descriptions}: has no class {missing[0]} of {trainable} ({len(missing)} are missing)")
        names = [name_of[mid] for mid in mids]
        # A few classes share a description; their machine ids tell them apart.
        unique = [f"{name} ({mid})" if names.count(name) > 1 else name for mid, name in zip(mids, names, strict=True)]
        return cls(unique, {mid: column for column, mid in enumerate(mids)})


def _descriptions(path: Path) -> list[tuple[str, str]]:
    """Return machine ids and names; early releases have no header, later ones do."""
    header, rows = read_table(path, "lines '<machine id>,<name>'")
    if len(header) != 2:
        raise DataError(f"{path}: expected two columns, machine id and name, got {len(header)}")
    first = [] if header[0] == "LabelName" else [header]
    return [(row[0].strip(), row[1].strip()) for row in [*first, *rows]]


def _first(base: Path, names: Sequence[str]) -> Path:
    """Return the first of some files that exists; raise DataError naming all that were looked for."""
    for name in names:
        if (base / name).is_file():
            return base / name
    looked = " and ".join(str(base / name) for name in names)
    raise DataError(f"{names[0]} is missing: looked for {looked}{others_like(base / names[0], '*.csv')}")
