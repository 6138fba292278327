"""A label setting as a file of its own: what was drawn, from what, how, and a digest that names it.

An ``.npz`` with ``setting`` (JSON: format, data set, its digest, mechanism with options, seed, content digest),
``class_names`` (L,) and for each official part ``<part>_ids`` (N,), ``<part>_files`` (N,) where the examples are
image files, and ``<part>_labels`` (N, L) int8 in our encoding. The content digest covers everything but itself,
not the bytes of the file, so it is the same on every machine and for every version of NumPy.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plml.checkpoint import write_arrays
from plml.errors import DataError
from plml.label_files.archive import read_archive
from plml.labels import LabelArray, check_labels

FORMAT = 1
EXPECTED = "a label setting written by plml settings draw"


@dataclass(frozen=True)
class ArtifactPart:
    """Observed labels of one official part.

    Attributes:
        ids: N names, as the data set gives them.
        labels: (N, L) int8.
        files: N image file names without folders, or empty.
    """

    ids: Sequence[str]
    labels: LabelArray
    files: Sequence[str] = ()

    @property
    def names(self) -> Sequence[str]:
        """What other projects would call the images."""
        return self.files or self.ids


@dataclass(frozen=True)
class SettingArtifact:
    """A drawn label setting.

    Attributes:
        data_set: name of the data set.
        data_digest: SHA-256 over its class names, ids and true labels.
        observation: ``{name, **options}`` of the mechanism.
        seed: ``data.observation_seed`` of the draw.
        class_names: L names, in column order.
        parts: the official parts, in the order train, val, test.
    """

    data_set: str
    data_digest: str
    observation: Mapping[str, Any]
    seed: int
    class_names: Sequence[str]
    parts: Mapping[str, ArtifactPart]

    def describe(self) -> dict[str, Any]:
        """Return what is known of the draw, as plain data, without its digest."""
        return {
            "format": FORMAT,
            "data_set": self.data_set,
            "data_digest": self.data_digest,
            "observation": dict(self.observation),
            "seed": self.seed,
        }

    @property
    def sha256(self) -> str:
        """The digest of the content: description, class names, ids, file names and labels of all parts."""
        sha = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
        _add(sha, self.class_names)
        for name, part in self.parts.items():
            _add(sha, [name, *map(str, part.labels.shape)])
            _add(sha, part.ids)
            _add(sha, part.files)
            sha.update(np.ascontiguousarray(part.labels, dtype=np.int8).tobytes())
        return sha.hexdigest()


def _add(sha: "hashlib._Hash", names: Sequence[str]) -> None:
    sha.update(json.dumps(list(names)).encode() + b"\n")


def write_artifact(path: Path, artifact: SettingArtifact) -> None:
    """Write the file, whole."""
    arrays = {
        "setting": np.array(json.dumps({**artifact.describe(), "sha256": artifact.sha256}, sort_keys=True)),
        "class_names": np.array(list(artifact.class_names), dtype=np.str_),
    }
    for name, part in artifact.parts.items():
        arrays[f"{name}_ids"] = np.array(list(part.ids), dtype=np.str_)
        arrays[f"{name}_labels"] = part.labels
        if part.files:
            arrays[f"{name}_files"] = np.array(list(part.files), dtype=np.str_)
    write_arrays(path, **arrays)


def is_artifact(path: Path) -> bool:
    """Whether ``path`` is an archive that says it is a label setting; False for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "setting.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_artifact(path: Path) -> SettingArtifact:
    """Read a label setting and check its digest; raise DataError naming the file and what is wrong."""
    arrays = read_archive(path, EXPECTED)
    try:
        meta = json.loads(str(arrays["setting"]))
        if meta["format"] != FORMAT:
            raise DataError(f"{path}: is a label setting of format {meta['format']}, and this version reads {FORMAT}")
        artifact = SettingArtifact(
            data_set=meta["data_set"],
            data_digest=meta["data_digest"],
            observation=meta["observation"],
            seed=meta["seed"],
            class_names=arrays["class_names"].tolist(),
            parts={name: _part(arrays, name) for name in ("train", "val", "test") if f"{name}_ids" in arrays},
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged, or is no label setting ({error}); expected {EXPECTED}") from None
    if artifact.sha256 != meta["sha256"]:
        raise DataError(
            f"{path}: is damaged or was edited: its content has digest {artifact.sha256[:12]}, and it says "
            f"{meta['sha256'][:12]}"
        )
    return artifact


def _part(arrays: Mapping[str, Any], name: str) -> ArtifactPart:
    labels = check_labels(arrays[f"{name}_labels"], f"{name}_labels")
    files = arrays[f"{name}_files"].tolist() if f"{name}_files" in arrays else ()
    return ArtifactPart(arrays[f"{name}_ids"].tolist(), labels, files)
