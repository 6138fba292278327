"""Data set `formatted`: the .npy files in which the single-positive papers exchange their data sets.

A folder holds, for the official parts "train" and "val" (the latter is the test part):

* ``formatted_<part>_images.npy``: (N,) text, paths below the image root;
* ``formatted_<part>_labels.npy``: (N, L) true labels, 1 positive and 0 negative;
* ``formatted_<part>_labels_obs.npy``, optional: (N, L) observed labels (label setting ``as_given``), as the papers
  write them: 1 positive, -1 negative, 0 unknown;
* ``<part>_features_imagenet_resnet50.npy``, optional: (N, D) features for mode ``linear``;
* ``class_names.txt``, optional and ours: L lines.

Cole et al., CVPR 2021, arXiv:2106.09708, wrote VOC 2012, COCO 2014, NUS-WIDE and CUB-200-2011 in this form.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plml.data.digest import source_digest
from plml.data.encoded import decode_observed
from plml.data.files import read_array, read_lines, require_folder, require_images, require_unique
from plml.data.source import DataSet, Part, Source
from plml.errors import DataError
from plml.labels import EncodingName, LabelArray, check_labels
from plml.user_path import user_path


class Formatted(DataSet, name="formatted"):
    """Formatted files; the field's k for a data set is set by ``data.expected_positives``.

    Args:
        image_root: folder that the image paths start from; default: the folder of the formatted files.
        stored_features: mode ``linear`` uses the feature files if there are any; if not, it extracts its own.
        encoding: of the observed labels.
    """

    summary = "formatted_{train,val}_{images,labels}.npy of the single-positive papers; root: their folder"

    def __init__(
        self, *, image_root: str | None = None, stored_features: bool = True, encoding: EncodingName = "signed"
    ) -> None:
        self.image_root = image_root
        self.stored_features = stored_features
        self.encoding = encoding

    def read(self, root: Path | None) -> Source:
        """Read the files under ``root``; images may be absent if features are stored."""
        folder = require_folder(root, self.name, "the folder that holds formatted_train_images.npy")
        train, test = (self._part(folder, part) for part in ("train", "val"))
        num_classes = train.truth.shape[1]
        if test.truth.shape[1] != num_classes:
            raise DataError(
                f"{folder / 'formatted_val_labels.npy'}: has {test.truth.shape[1]} classes, but "
                f"formatted_train_labels.npy has {num_classes}"
            )
        shared = set(train.ids) & set(test.ids)
        if shared:
            raise DataError(
                f"{folder / 'formatted_val_images.npy'}: '{min(shared)}' is in formatted_train_images.npy too "
                f"({len(shared)} such images)"
            )
        class_names = _class_names(folder, num_classes)
        return Source(
            name=self.name,
            class_names=class_names,
            train=train,
            test=test,
            digest=source_digest(class_names, [train, None, test]),
        )

    def _part(self, folder: Path, part: str) -> Part:
        images_file = folder / f"formatted_{part}_images.npy"
        images = read_array(images_file, "image paths, (N,) text")
        if images.ndim != 1 or images.dtype.kind != "U" or not len(images):
            raise DataError(f"{images_file}: expected (N,) text, got {images.shape} of {images.dtype}")
        ids = [str(path) for path in images]
        require_unique(ids, images_file)
        truth = self._truth(folder, part, len(ids))
        features = self._features(folder, part, len(ids))
        return Part(
            ids=ids,
            truth=truth,
            paths=self._paths(folder, ids, images_file, optional=features is not None),
            features=features,
            observed=self._observed(folder, part, truth),
        )

    def _truth(self, folder: Path, part: str, num_examples: int) -> LabelArray:
        path = folder / f"formatted_{part}_labels.npy"
        array = read_array(path, "true labels, (N, L) of 0 and 1")
        if array.ndim != 2 or len(array) != num_examples:
            raise DataError(
                f"{path}: expected ({num_examples}, L), as formatted_{part}_images.npy lists {num_examples} images, "
                f"got {array.shape}"
            )
        if not np.isin(array, (0, 1)).all():
            hint = "; it looks like observed labels" if np.isin(array, (-1, 0, 1)).all() else ""
            raise DataError(f"{path}: true labels must be 0 or 1, got {array[~np.isin(array, (0, 1))][0]}{hint}")
        return check_labels(array)

    def _observed(self, folder: Path, part: str, truth: LabelArray) -> LabelArray | None:
        path = folder / f"formatted_{part}_labels_obs.npy"
        if not path.exists():
            return None
        return decode_observed(read_array(path, "observed labels, (N, L)"), truth, self.encoding, path)

    def _features(self, folder: Path, part: str, num_examples: int) -> NDArray[np.float32] | None:
        path = folder / f"{part}_features_imagenet_resnet50.npy"
        if not self.stored_features or not path.exists():
            return None
        array = read_array(path, f"features, ({num_examples}, D) floats", mmap=True)
        if array.ndim != 2 or len(array) != num_examples or array.dtype.kind != "f":
            raise DataError(f"{path}: expected ({num_examples}, D) floats, got {array.shape} of {array.dtype}")
        return array if array.dtype == np.float32 else array.astype(np.float32)

    def _paths(self, folder: Path, ids: list[str], listed_in: Path, *, optional: bool) -> list[Path] | None:
        """Return the image files, or None when there are none and ``optional`` features stand in for them."""
        if self.image_root is not None:
            start = user_path(self.image_root)
            return require_images(start if start.is_absolute() else folder / start, ids, listed_in)
        if optional and not (folder / ids[0]).exists():
            return None
        try:
            return require_images(folder, ids, listed_in)
        except DataError as error:
            raise DataError(f"{error}; data.options.image_root names the folder that the paths start from") from None


def _class_names(folder: Path, num_classes: int) -> tuple[str, ...]:
    path = folder / "class_names.txt"
    if not path.exists():
        return tuple(f"class_{index:0{len(str(num_classes - 1))}d}" for index in range(num_classes))
    names = tuple(line.strip() for line in read_lines(path, f"{num_classes} class names, one a line"))
    if len(names) != num_classes:
        raise DataError(f"{path}: has {len(names)} names, but formatted_train_labels.npy has {num_classes} classes")
    require_unique(names, path)
    return names
