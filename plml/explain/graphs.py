"""Learned class by class matrices of the chosen epochs, such as label graphs, side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plml.matrix_figure import new_matrix_figure, show_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_matrices(run_folder: Path, epoch: int) -> dict[str, NDArray[np.floating]]:
    """Return ``{name: (L, L)}`` of one epoch (0-based) of a run; empty if its method has none."""
    files = sorted((run_folder / "matrices").glob(f"*_{epoch:04d}.npy"))
    return {file.stem.rpartition("_")[0]: np.load(file, allow_pickle=False) for file in files}


def graphs_figure(matrices: Mapping[str, NDArray[np.floating]], class_names: list[str]) -> "Figure":
    """Return a row of matrices (L, L), each under its title and with a scale of its own."""
    figure, all_axes = new_matrix_figure(len(class_names), columns=len(matrices))
    for axes, (title, matrix) in zip(all_axes, matrices.items(), strict=True):
        image = show_matrix(axes, matrix, class_names, title)
        figure.colorbar(image, ax=axes, fraction=0.046, extend="max")
    return figure
