"""Data set `nus_wide`: 81 concepts of Flickr pictures, in each of the versions that the field uses.

Which version a folder holds is read from its files and their length (:mod:`plml.data.nus_versions`); a configuration
names the one it means, and another one is an error.

* ``cole``, ``ack``: ``formatted_{train,val}_{images,labels}.npy``, as of data set `formatted`.
* ``official``: ``ImageList/{Train,Test}Imagelist.txt`` (with backslashes), ``ConceptsList/Concepts81.txt`` and
  ``Groundtruth/TrainTestLabels/Labels_<concept>_{Train,Test}.txt``, one 0 or 1 a line.
* ``asl``, ``cones``: ``nus_wid_data.csv`` with file name, list of concept names, and train or val.
* ``splc``: ``nus_val.txt`` and training lists of lines ``<file name>,<class indices>``, perhaps gzipped. The names of
  the 81 indices were not published; ``class_names.txt`` gives them if you know them. The list of single positives
  becomes the observed labels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plml.data.contained import require_contained
from plml.data.digest import source_digest
from plml.data.files import read_lines, require_folder, require_images, require_unique
from plml.data.formatted import Formatted
from plml.data.nus_versions import (
    CSV_NAME,
    EVALUATION_LIST,
    NUM_CONCEPTS,
    VERSIONS,
    NusLayout,
    NusVersion,
    find_layout,
    require_version,
)
from plml.data.plain_arrays import map_npy
from plml.data.source import DataSet, Part, Source
from plml.data.tables import read_table
from plml.errors import DataError, nearest
from plml.label_files.splc import Splc
from plml.labels import NEGATIVE, POSITIVE, LabelArray
from plml.user_path import user_path

EXPECTED_POSITIVES = 1.9  # the k of the field for NUS-WIDE (Cole et al.)

# fmt: off
CONES_CLASS_NAMES = (  # the order in which the table names them first
    "clouds", "sky", "person", "street", "window", "tattoo", "wedding", "animal", "cat", "buildings", "tree", "airport",
    "plane", "water", "grass", "cars", "road", "snow", "sunset", "railroad", "train", "flowers", "plants", "house",
    "military", "horses", "nighttime", "lake", "rocks", "waterfall", "sun", "vehicle", "sports", "reflection", "temple",
    "statue", "ocean", "town", "beach", "tower", "toy", "book", "bridge", "fire", "mountain", "rainbow", "garden",
    "police", "coral", "fox", "sign", "dog", "cityscape", "sand", "dancing", "leaf", "tiger", "moon", "birds", "food",
    "cow", "valley", "fish", "harbor", "bear", "castle", "boats", "running", "glacier", "swimmers", "elk", "frost",
    "protest", "soccer", "flags", "zebra", "surf", "whales", "computer", "earthquake", "map",
)
# fmt: on


class NusWide(DataSet, name="nus_wide"):
    """NUS-WIDE in a named version.

    Args:
        version: which of the data sets of that name; see the module.
        image_root: folder that the image paths start from; default: the version's own, below the root.
        train_list: training list of version ``splc`` with all labels; without it only ``observed_list`` is known.
        observed_list: training list of version ``splc`` with the labels that are seen.
        a_part: accept a part of the version, with fewer examples.
    """

    summary = "NUS-WIDE, versions cole, ack, official, asl, cones, splc; root: the folder of its lists"

    def __init__(
        self,
        *,
        version: NusVersion = "cole",
        image_root: str | None = None,
        train_list: str = "nus_train_full.txt",
        observed_list: str = "nus_train_single.txt",
        a_part: bool = False,
    ) -> None:
        self.version: NusVersion = version
        self.image_root = image_root
        self.train_list, self.observed_list = train_list, observed_list
        self.a_part = a_part

    def read(self, root: Path | None) -> Source:
        """Recognise the version under ``root``, and read it if it is the one that was named."""
        folder = require_folder(root, self.name, "the folder of its lists")
        layout = find_layout(folder)
        if layout == "formatted":
            return self._formatted(folder)
        if layout == "csv":
            class_names, parts = self._from_table(folder / CSV_NAME)
            default = folder
        elif layout == "lists":
            class_names, parts = self._from_lists(folder)
            default = folder / "images"
        else:
            class_names, parts = _official(folder)
            default = folder / "Flickr"
        note = self._note(layout, {name: len(parts[name]) for name in ("train", "test")}, folder)
        images = default if self.image_root is None else folder / user_path(self.image_root)
        train, test = (_with_paths(part, images, folder) for part in (parts["train"], parts["test"]))
        return self._source(class_names, train, test, note)

    def _source(self, class_names: Sequence[str], train: Part, test: Part, note: str) -> Source:
        return Source(
            name=self.name,
            class_names=class_names,
            train=train,
            test=test,
            expected_positives=EXPECTED_POSITIVES,
            digest=source_digest(class_names, [train, None, test]),
            notes=[note],
        )

    def _note(self, layout: NusLayout, counts: dict[str, int], folder: Path) -> str:
        return require_version(self.version, layout, counts, folder, a_part=self.a_part)

    def _formatted(self, folder: Path) -> Source:
        lists = {part: folder / f"formatted_{name}_images.npy" for part, name in (("train", "train"), ("test", "val"))}
        counts = {part: _length(path) for part, path in lists.items()}
        note = self._note("formatted", counts, folder)  # before 210,000 images are looked for
        source = Formatted(image_root=self.image_root).read(folder)
        if len(source.class_names) != NUM_CONCEPTS:
            raise DataError(
                f"{folder / 'formatted_train_labels.npy'}: has {len(source.class_names)} classes, NUS-WIDE has "
                f"{NUM_CONCEPTS}; for another data set use data.name: formatted"
            )
        return self._source(source.class_names, source.train, source.test, note)

    def _from_table(self, path: Path) -> tuple[Sequence[str], dict[str, Part]]:
        header, rows = read_table(path, "file name, list of concepts, and split")
        if len(header) != 3:
            raise DataError(f"{path}: expected three columns (file name, list of concepts, split), got {header}")
        lists = [[name.strip(" '\"") for name in row[1].strip(" []").split(",") if name.strip(" '\"")] for row in rows]
        found = {name for names in lists for name in names}
        class_names = CONES_CLASS_NAMES if self.version == "cones" else tuple(sorted(CONES_CLASS_NAMES))
        unknown = sorted(found - set(class_names))
        if unknown:
            raise DataError(f"{path}: '{unknown[0]}' is no concept of NUS-WIDE{nearest(unknown[0], class_names)}")
        column_of = {name: column for column, name in enumerate(class_names)}
        truth: LabelArray = np.full((len(rows), NUM_CONCEPTS), NEGATIVE, dtype=np.int8)
        for row, names in enumerate(lists):
            truth[row, [column_of[name] for name in names]] = POSITIVE
        parts = {}
        for part, split in (("train", "train"), ("test", "val")):
            chosen = [row for row, fields in enumerate(rows) if fields[2].strip() == split]
            if not chosen:
                raise DataError(f"{path}: no row has the split '{split}' in column '{header[2]}'")
            ids = [rows[row][0].strip() for row in chosen]
            require_unique(ids, path)
            parts[part] = Part(ids=ids, truth=truth[chosen])
        return class_names, parts

    def _from_lists(self, folder: Path) -> tuple[Sequence[str], dict[str, Part]]:
        names, positives = _read_list(_plain_or_gz(folder, EVALUATION_LIST))
        parts = {"test": Part(ids=names, truth=_unlisted_negative(positives))}
        complete, observed = (_plain_or_gz(folder, name) for name in (self.train_list, self.observed_list))
        if not complete.is_file() and not observed.is_file():
            kind = "is the" if len(names) == VERSIONS["splc"].counts["test"] else "has the form of the"
            raise DataError(
                f"{complete}: there is no such training list, nor {observed}. {EVALUATION_LIST} beside it, "
                f"{len(names):,} images, {kind} evaluation list of NUS-WIDE version 'splc'; "
                f"data.options.version is '{self.version}'"
            )
        parts["train"] = _training_part(complete, observed)
        path = folder / "class_names.txt"
        if not path.is_file():
            return [f"concept_{index:02d}" for index in range(NUM_CONCEPTS)], parts
        class_names = [line.strip() for line in read_lines(path, "81 concepts, one a line")]
        if len(class_names) != NUM_CONCEPTS:
            raise DataError(f"{path}: has {len(class_names)} names, NUS-WIDE has {NUM_CONCEPTS} concepts")
        require_unique(class_names, path)
        return class_names, parts


def _read_list(path: Path) -> tuple[Sequence[str], LabelArray]:
    """Return file names and labels, POSITIVE where listed and UNKNOWN elsewhere."""
    found = Splc().read(path, NUM_CONCEPTS, None)
    if not found.names:
        raise DataError(f"{path}: is empty; expected lines '<file name>,<class indices>'")
    require_unique(found.names, path)
    return found.names, found.labels


def _unlisted_negative(positives: LabelArray) -> LabelArray:
    return np.where(positives == POSITIVE, POSITIVE, NEGATIVE).astype(np.int8)


def _training_part(complete: Path, observed: Path) -> Part:
    """Return truth from the complete list if there is one, and observed labels from the list of those seen."""
    if not complete.is_file():
        names, seen = _read_list(observed)
        return Part(ids=names, truth=seen, observed=seen)  # nobody says what else is in the picture
    names, positives = _read_list(complete)
    truth = _unlisted_negative(positives)
    if not observed.is_file():
        return Part(ids=names, truth=truth)
    its_names, seen = _read_list(observed)
    if its_names != names:
        raise DataError(f"{observed}: does not list the images of {complete}, in that order")
    return Part(ids=names, truth=truth, observed=seen)


def _official(folder: Path) -> tuple[Sequence[str], dict[str, Part]]:
    concepts = [line.strip() for line in read_lines(folder / "ConceptsList/Concepts81.txt", "81 concepts, one a line")]
    if not concepts:
        raise DataError(f"{folder / 'ConceptsList/Concepts81.txt'}: is empty; expected 81 concepts, one a line")
    require_unique(concepts, folder / "ConceptsList/Concepts81.txt")
    require_contained(concepts, folder / "ConceptsList/Concepts81.txt")  # they are parts of file names
    parts = {}
    for part, name in (("train", "Train"), ("test", "Test")):
        listing = folder / "ImageList" / f"{name}Imagelist.txt"
        ids = [line.strip().replace("\\", "/") for line in read_lines(listing, "one image a line")]
        require_unique(ids, listing)
        columns = []
        for concept in concepts:
            path = folder / "Groundtruth/TrainTestLabels" / f"Labels_{concept}_{name}.txt"
            lines = [line.strip() for line in read_lines(path, "one 0 or 1 an image")]
            if len(lines) != len(ids):
                raise DataError(f"{path}: has {len(lines)} lines, {listing} lists {len(ids)} images")
            wrong = [line for line in lines if line not in ("0", "1")]
            if wrong:
                raise DataError(f"{path}: lines must be 0 or 1, got '{wrong[0]}'")
            columns.append(np.array(lines, dtype=np.int8))
        parts[part] = Part(ids=ids, truth=np.stack(columns, axis=1))
    return concepts, parts


def _with_paths(part: Part, images: Path, listed_in: Path) -> Part:
    return Part(
        ids=part.ids,
        truth=part.truth,
        observed=part.observed,
        paths=require_images(images, part.ids, listed_in),
    )


def _plain_or_gz(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name


def _length(path: Path) -> int:
    """Return how many rows an .npy file has, from its head alone."""
    try:
        return int(map_npy(path).shape[0])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected image paths, (N,) text") from None
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: is not a whole .npy file ({error}); expected image paths, (N,) text") from None
