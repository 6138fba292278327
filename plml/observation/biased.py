"""Single positives that are not drawn uniformly: large, central or frequently named objects come first."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plml.errors import ConfigError, DataError, nearest
from plml.labels import POSITIVE, UNKNOWN, LabelArray
from plml.mechanism import ChosenPerImage
from plml.observation.base import Observation, PartInfo

NEAREST = 1e-6  # of half the diagonal: a box exactly at the centre has a finite weight


class BiasedSinglePositive(Observation, name="biased_single_positive"):
    r"""One positive an image, drawn with a probability proportional to a weight of its class in that image.

    * ``size``: :math:`w_{ij}` = area of the largest box of class j in image i.
    * ``location``: :math:`w_{ij} = 1 / d_{ij}`, the distance of the nearest box centre to the image's centre.
    * ``semantic``: :math:`w_{ij} = w_j`, how often people name the class: ``class_weights`` by class name, or by
      default the number of images of the part that show it.

    If all of an image's positives have weight 0, each is equally likely. One uniform number a row is drawn.

    The paper's code sums areas (of masks) and inverse distances over all objects of a class and takes
    the semantic weights from the clicks of COCO's annotators; here a class counts by its largest and by its
    nearest object, and by default by its frequency. The paper draws from Python's generator, so its labels cannot be
    repeated bit for bit.
    """

    source = "Arroyo, Perona and Cole, Understanding Label Bias in Single Positive Multi-Label Learning, 2305.15584"
    reveals = frozenset({POSITIVE})
    needs = "boxes of the objects, for size and location"

    def __init__(
        self,
        *,
        bias: Literal["size", "location", "semantic"] = "size",
        class_weights: dict[str, float] | None = None,
    ) -> None:
        if class_weights is not None and bias != "semantic":
            raise ConfigError(f"data.observation.class_weights: belongs to bias: semantic, but bias is '{bias}'")
        self.bias, self.class_weights = bias, class_weights

    def draw(self, truth: LabelArray, rng: np.random.RandomState, part: PartInfo) -> LabelArray:
        positive = truth == POSITIVE
        weights = np.where(positive, self._weights(truth, part), 0.0)  # (N, L)
        weightless = weights.sum(axis=1) == 0
        weights[weightless] = positive[weightless]
        heaps = weights.cumsum(axis=1)  # (N, L)
        total = heaps[:, -1]  # (N,)
        target = np.minimum(
            rng.random_sample(len(truth)) * total, np.nextafter(total, 0)
        )  # below total, rounded or not
        chosen = (heaps <= target[:, None]).sum(axis=1)
        observed = np.full(truth.shape, UNKNOWN, dtype=np.int8)
        rows = np.flatnonzero(positive.any(axis=1))
        observed[rows, chosen[rows]] = POSITIVE
        return observed

    def _weights(self, truth: LabelArray, part: PartInfo) -> NDArray[np.float64]:
        if self.bias == "semantic":
            return np.broadcast_to(self._semantic(truth, part), truth.shape)
        if part.evidence is None:
            raise DataError(
                f"data.observation.bias: '{self.bias}' needs the boxes of the objects, and the data set has none for "
                f"its part '{part.name}'; COCO and VOC have them, and bias: semantic needs none"
            )
        evidence = part.evidence()
        if self.bias == "size":
            return evidence["area"].astype(np.float64)
        return 1.0 / np.maximum(evidence["centre_distance"].astype(np.float64), NEAREST)

    def _semantic(self, truth: LabelArray, part: PartInfo) -> NDArray[np.float64]:
        if self.class_weights is None:
            return (truth == POSITIVE).sum(axis=0).astype(np.float64)  # (L,)
        for name, weight in self.class_weights.items():
            if name not in part.class_names:
                raise ConfigError(
                    f"data.observation.class_weights: there is no class '{name}'{nearest(name, part.class_names)}"
                )
            if weight < 0:
                raise ConfigError(f"data.observation.class_weights.{name} must be >= 0, got {weight}")
        missing = [name for name in part.class_names if name not in self.class_weights]
        if missing:
            raise ConfigError(
                f"data.observation.class_weights must have a weight for every class, and has none for '{missing[0]}' "
                f"({len(missing)} such classes)"
            )
        return np.array([self.class_weights[name] for name in part.class_names])

    @property
    def mechanism(self) -> ChosenPerImage:
        return ChosenPerImage()  # if the draw were uniform; what else would correct it, nobody sees
