"""How far figures would move with other test images: mAP over bootstrap resamples of the test set.

Every run that was scored on the same test images meets the same resamples, so differences between cells are paired
image by image. This says nothing about other seeds or label draws; :mod:`ablations.crossed` does.

mAP of a resample is too high on average: an image that was drawn twice stands right above itself. Percentiles of
resamples are therefore off; the interval here corrects their bias by the share of resamples below the mAP itself (Efron,
Canadian Journal of Statistics 9, 1981). An acceleration on top of it (BCa) changed nothing (``docs/statistics.md``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.outcome import CellOutcome, RunOutcome
from ablations.weighted_precision import weighted_mean_average_precision
from plml.errors import DataError

RESAMPLES = 1000
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
        self._of_cell: dict[str, tuple[Array, Array] | None] = {}

    def of_cell(self, cell: CellOutcome) -> Array | None:
        """Return the mean over the cell's runs of their test mAP in percent, (1 + R,): itself, then of each resample.

        None if some run has no test scores, or if its runs were scored on different images.
        """
        found = self._scored(cell)
        return None if found is None else found[1]

    def of_difference(self, cell: CellOutcome, baseline: CellOutcome) -> Array | None:
        """Return the cell's mean mAP minus the baseline's, (1 + R,) as :meth:`of_cell`, over pairs that both have.

        None if there is no such pair or if the two were not scored on the same images.
        """
        pairs = {run.pair for run in cell.runs} & {run.pair for run in baseline.runs}
        mine, theirs = (_only(pairs, of) for of in (cell, baseline))
        one, other = self._scored(mine), self._scored(theirs)
        if one is None or other is None or not np.array_equal(one[0], other[0]):
            return None
        return one[1] - other[1]

    def _scored(self, cell: CellOutcome) -> tuple[Array, Array] | None:
        """Return test labels (N, L) and mean mAP (1 + R,); computed once for the same runs."""
        key = " ".join(run.fingerprint for run in cell.runs)
        if key not in self._of_cell:
            self._of_cell[key] = self._score(cell.runs)
        return self._of_cell[key]

    def _score(self, runs: Sequence[RunOutcome]) -> tuple[Array, Array] | None:
        if not runs:
            return None
        labels: Array | None = None
        total = np.zeros(1 + self.resamples)
        for run in runs:
            read = read_test_scores(run)
            if read is None or (labels is not None and not np.array_equal(labels, read[1])):
                return None
            labels = read[1]
            total += weighted_mean_average_precision(*read, self.weights(len(labels)))
        return (labels, total / len(runs)) if labels is not None else None

    def weights(self, images: int) -> Array:
        """Return how often each image counts: once, and as often as each resample has it, (N, 1 + R) float32."""
        if images not in self._weights:
            generator = np.random.default_rng(self.seed)
            counts = np.ones((images, 1 + self.resamples), dtype=np.float32)
            for column in range(1, 1 + self.resamples):
                counts[:, column] = np.bincount(generator.integers(0, images, images), minlength=images)
            self._weights[images] = counts
        return self._weights[images]


def read_test_scores(run: RunOutcome) -> tuple[Array, Array] | None:
    """Return a run's test logits (N, L) and labels (N, L), or None if it kept none.

    Raises:
        DataError: the two do not belong together.
    """
    folder = run.folder / "scores"
    if not ((folder / "test.npy").is_file() and (folder / "test_labels.npy").is_file()):
        return None
    scores, labels = np.load(folder / "test.npy"), np.load(folder / "test_labels.npy")
    if scores.shape != labels.shape:
        raise DataError(f"{folder}: test.npy is {scores.shape} and test_labels.npy is {labels.shape}, not alike")
    return scores, labels


def bias_corrected_interval(values: Array, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of an estimate and its resamples, (1 + R,); None if some are not numbers.

    The percentiles are those of levels Phi(2 z0 -+ z), with Phi(z0) the share of resamples below the estimate, so
    without bias they are the usual ones.
    """
    if np.isnan(values).any():
        return None
    from scipy.special import ndtr, ndtri

    estimate, resampled = values[0], values[1:]
    share = (np.mean(resampled < estimate) + np.mean(resampled <= estimate)) / 2
    rarest = 0.5 / len(resampled)
    bias = ndtri(np.clip(share, rarest, 1 - rarest))
    low, high = np.quantile(resampled, ndtr(2 * bias + ndtri([(1 - level) / 2, (1 + level) / 2])))
    return float(low), float(high)


def _only(pairs: set[tuple[int, int]], cell: CellOutcome) -> CellOutcome:
    """Return the cell with the runs of ``pairs`` only."""
    runs = tuple(run for run in cell.runs if run.pair in pairs)
    return CellOutcome(cell.label, cell.levels, runs, planned=cell.planned)
