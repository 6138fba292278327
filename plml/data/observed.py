"""The observed labels of every official part of a data set."""

from pathlib import Path

import numpy as np

from plml.config import DataConfig
from plml.data.inputs import parts
from plml.data.source import Part, Source
from plml.errors import DataError
from plml.labels import UNKNOWN, LabelArray
from plml.observation import PartInfo, observe
from plml.user_path import user_path


def observe_parts(source: Source, data: DataConfig) -> dict[str, LabelArray]:
    """Draw the label setting of ``data`` on each official part of ``source`` and hold it to the law.

    Returns:
        ``{part: (N, L) int8}`` in the order train, val, test.

    Raises:
        DataError: a known label is not true, or the setting needs something that the data set does not have.
    """
    root = user_path(data.root) if data.root else None
    return {name: _observed(source, name, part, data, root) for name, part in parts(source)}


def _observed(source: Source, name: str, part: Part, data: DataConfig, root: Path | None) -> LabelArray:
    info = PartInfo(
        name=name,
        ids=part.ids,
        class_names=source.class_names,
        root=root,
        given=part.observed,
        evidence=part.evidence,
    )
    labels = observe(part.truth, data.observation, data.observation_seed, info)
    wrong = np.argwhere((labels != UNKNOWN) & (part.truth != UNKNOWN) & (labels != part.truth))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"data set '{source.name}', {name} part: the observed label of '{part.ids[row]}' for "
            f"'{source.class_names[column]}' is {labels[row, column]}, its true label {part.truth[row, column]} "
            f"({len(wrong)} such entries); a known label must be true"
        )
    return labels
