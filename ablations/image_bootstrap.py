"""How far figures would move with other test images: mAP over bootstrap resamples of the test set.

Every run that was scored on the same test images meets the same resamples, so differences between cells are paired
image by image. This says nothing about other seeds or label draws; :mod:`ablations.crossed` does.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.outcome import CellOutcome, RunOutcome, paired_runs
from plml.image_resamples import RESAMPLES, resample_weights
from plml.stored_runs import read_test_scores
from plml.weighted_precision import weighted_mean_average_precision

Array = NDArray[Any]


class ImageBootstrap:
    """The resamples of a grid's test sets, and the runs' mAP under them.

    Args:
        resamples: R.
        seed: of the draws; the same numbers of images meet the same resamples.
    """

    def __init__(self, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.resamples, self.seed = resamples, seed
        self._weights: dict[int, Array] = {}  # by number of images
        self._of_run: dict[Path, tuple[bytes, Array] | None] = {}

    def of_cell(self, cell: CellOutcome) -> Array | None:
        """Return the mean over the cell's runs of their test mAP in percent, (1 + R,): itself, then of each resample.

        None if some run has no test scores, or if its runs were scored on different images.
        """
        found = self._mean(cell.runs)
        return None if found is None else found[1]

    def of_difference(self, cell: CellOutcome, baseline: CellOutcome) -> Array | None:
        """Return the cell's mean mAP minus the baseline's, (1 + R,) as :meth:`of_cell`, over pairs that both have.

        None if there is no such pair or if the two were not scored on the same images.
        """
        pairs = paired_runs(cell, baseline)
        one, other = self._mean([mine for _, mine, _ in pairs]), self._mean([theirs for _, _, theirs in pairs])
        return one[1] - other[1] if one and other and one[0] == other[0] else None

    def _mean(self, runs: Sequence[RunOutcome]) -> tuple[bytes, Array] | None:
        """Return the test labels that all runs share, and their mean mAP (1 + R,)."""
        found = [scored for run in runs if (scored := self._scored(run)) is not None]
        if not found or len(found) < len(runs) or len({labels for labels, _ in found}) > 1:
            return None
        return found[0][0], np.mean([maps for _, maps in found], axis=0)

    def _scored(self, run: RunOutcome) -> tuple[bytes, Array] | None:
        """Return the digest of a run's test labels, and its mAP (1 + R,); computed once."""
        if run.folder not in self._of_run:
            read = read_test_scores(run.folder)
            if read is not None:
                scores, labels = read
                digest = hashlib.sha256(repr(labels.shape).encode() + labels.tobytes()).digest()
                maps = weighted_mean_average_precision(scores, labels, self.weights(len(labels)))
            self._of_run[run.folder] = None if read is None else (digest, maps)
        return self._of_run[run.folder]

    def weights(self, images: int) -> Array:
        """Return how often each image counts: once, and as often as each resample has it, (N, 1 + R) float32."""
        if images not in self._weights:
            self._weights[images] = resample_weights(images, self.resamples, self.seed)
        return self._weights[images]
