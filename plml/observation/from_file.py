"""Labels that somebody drew before: a label setting of ours, or a file of another project."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from plml.errors import DataError, nearest
from plml.labels import NEGATIVE, POSITIVE, LabelArray
from plml.observation.base import Observation, PartInfo
from plml.user_path import user_path

PART = "{part}"


class FromFile(Observation, name="from_file"):
    """Observed labels from a file; rows are matched by name or number where the file has them, else by position.

    A file of one part describes the official training part, from which validation is carved. ``{part}`` in
    ``path`` stands for the part's name in the file's format, for a file each. A test part without a file is scored on
    its true labels.

    Args:
        path: the file; relative to the current folder, or else to ``data.root``.
        format: ``artifact`` for a label setting of ours, a name of :data:`plml.label_files.FORMATS`, or ``auto``.
        key: the matrix, in an ``.npz`` of several (``candidates_0p1``).
        sha256: what the file must be: its digest, or the digest of the content of an artifact.
    """

    source = "the file: a label setting of plml, or the lists and matrices that projects publish"
    reveals = frozenset({POSITIVE, NEGATIVE})
    random = False
    needs = "a file of observed labels"

    def __init__(
        self,
        *,
        path: str,
        format: str = "auto",  # noqa: A002 - the option's name in configurations
        key: str | None = None,
        sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None,
    ) -> None:
        self.path, self.format, self.key, self.sha256 = path, format, key, sha256

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        # Here and not above: the formats share readers with the data sets, which know the settings themselves.
        from plml.label_files.artifact import is_artifact

        path = self._find(part, part.name)
        if self.format == "artifact" or (self.format == "auto" and is_artifact(path)):
            return self._from_artifact(path, truth, part)
        return self._from_format(truth, part)

    def _find(self, part: PartInfo, name: str) -> Path:
        """Return where the file of the part called ``name`` lies, or would lie."""
        path = user_path(self.path.replace(PART, name))
        return path if path.exists() or part.root is None else part.root / path

    def _from_artifact(self, path: Path, truth: LabelArray, part: PartInfo) -> LabelArray:
        from plml.label_files.artifact import read_artifact
        from plml.label_files.base import FileLabels
        from plml.label_files.rows import align

        artifact = read_artifact(path)
        self._check_digest(artifact.sha256, path)
        if part.name not in artifact.parts:
            if part.name == "test":
                return truth.copy()
            raise DataError(f"{path}: has no labels for the part '{part.name}', only for {', '.join(artifact.parts)}")
        found = artifact.parts[part.name]
        rows = {name: row for row, name in enumerate(found.ids)}
        missing = [name for name in part.ids if name not in rows]
        if missing:
            raise DataError(
                f"{path}: has no row for '{missing[0]}' of the {part.name} part ({len(missing)} of {len(part.ids)} "
                f"are not listed); it was drawn on data set '{artifact.data_set}'"
            )
        labels = found.labels[[rows[name] for name in part.ids]]
        return align(FileLabels(labels, class_names=artifact.class_names), part.ids, part.class_names, path)

    def _from_format(self, truth: LabelArray, part: PartInfo) -> LabelArray:
        from plml.label_files import find_format
        from plml.label_files.base import file_sha256
        from plml.label_files.detect import detect_format
        from plml.label_files.rows import align

        path = self._find(part, "train")
        if not path.exists():
            raise self._missing(path)
        chosen = find_format(detect_format(path) if self.format == "auto" else self.format)
        if part.name == "val" and "val" not in chosen.parts:
            raise DataError(
                f"data.observation.path: format {chosen.name} has no file for a validation part of the data set's own"
            )
        if part.name == "val" and PART not in self.path:
            raise DataError(
                f"data.observation.path: {path} holds the labels of one part, and this data set has a validation part "
                "of its own; name a file for each with {part} in the path"
            )
        if PART in self.path:
            path = self._find(part, chosen.parts[part.name])
        if part.name == "test" and (PART not in self.path or not path.exists()):
            return truth.copy()
        if not path.exists():
            raise self._missing(path)
        if self.sha256 is not None:
            self._check_digest(file_sha256(path), path)
        file = chosen.read(path, truth.shape[1], self.key)
        return align(file, part.ids, part.class_names, path)

    def _missing(self, path: Path) -> DataError:
        siblings = [str(file) for file in path.parent.iterdir()] if path.parent.is_dir() else []
        return DataError(f"data.observation.path: {path} is not a file{nearest(str(path), siblings)}")

    def _check_digest(self, found: str, path: Path) -> None:
        if self.sha256 is not None and found != self.sha256:
            raise DataError(f"{path}: data.observation.sha256 must be its digest, {found}, got {self.sha256}")
