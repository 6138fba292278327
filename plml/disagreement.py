"""Signs of label bias: estimates that agree where labels are seen by chance, and not where they are seen by looks."""

from collections.abc import Sequence
from dataclasses import dataclass

from plml.rank_correlation import kendall

BOUND = 0.6  # of Kendall's tau between corrected AP and PU-AUC
SHARE = 0.75  # of the declared number of positives of an image
FEWEST = 8  # of fewer models a rank correlation says little


@dataclass(frozen=True)
class Disagreement:
    """How well estimates agree that rest on labels being seen by chance.

    Attributes:
        tau: Kendall's tau-b between corrected AP and PU-AUC over models; None if it cannot be told.
        models: of how many.
        implied: positives of an image that the best model's label frequencies imply; None if it cannot be told.
        declared: positives of an image as declared, or None.
    """

    tau: float | None
    models: int
    implied: float | None = None
    declared: float | None = None

    @property
    def reasons(self) -> list[str]:
        """What suggests label bias, in words; empty if nothing does."""
        found = []
        if self.tau is not None and self.models >= FEWEST and self.tau < BOUND:
            found.append(
                f"corrected AP and PU-AUC order the same {self.models} models differently (Kendall's tau "
                f"{self.tau:.2f}, below {BOUND:g})"
            )
        if self.implied is not None and self.declared is not None and self.implied < SHARE * self.declared:
            found.append(
                f"labels gather at the top of rankings: their frequency there implies {self.implied:.2f} positives an "
                f"image, less than {SHARE:g} of the declared {self.declared:g}"
            )
        return found

    @property
    def warns(self) -> bool:
        """Whether label bias is suspected."""
        return bool(self.reasons)


def disagreement(
    corrected: Sequence[float],
    pu_auc: Sequence[float],
    *,
    implied: float | None = None,
    declared: float | None = None,
) -> Disagreement:
    """Compare what rests on labels being seen by chance.

    Args:
        corrected: corrected AP of each model at its best epoch.
        pu_auc: PU-AUC of the same models, each at its best epoch.
        implied: see :func:`plml.cardinality.implied_cardinality`.
        declared: the declared number of positives of an image.
    """
    return Disagreement(kendall(list(zip(corrected, pu_auc, strict=True))), len(corrected), implied, declared)
