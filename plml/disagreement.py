"""A sign of label bias: corrected AP and PU-AUC order the same models differently."""

from collections.abc import Sequence
from dataclasses import dataclass

from plml.rank_correlation import kendall

BOUND = 0.6
FEWEST = 8  # of fewer models a rank correlation says little


@dataclass(frozen=True)
class Disagreement:
    """How alike corrected AP and PU-AUC order models.

    Attributes:
        tau: Kendall's tau-b between them; None if it cannot be told.
        models: of how many.
    """

    tau: float | None
    models: int

    @property
    def text(self) -> str:
        """The warning in words."""
        return (
            f"corrected AP and PU-AUC order the same {self.models} models differently (Kendall's tau "
            f"{'unknown' if self.tau is None else format(self.tau, '.2f')}, below {BOUND:g}); labels that are seen by "
            "what they show, and not by chance, do that"
        )

    @property
    def warns(self) -> bool:
        """Whether they differ by more than they do where labels are not biased."""
        return self.tau is not None and self.models >= FEWEST and self.tau < BOUND


def disagreement(corrected: Sequence[float], pu_auc: Sequence[float]) -> Disagreement:
    """Compare the values that both criteria give to the same models, of which each has its best epoch."""
    return Disagreement(kendall(list(zip(corrected, pu_auc, strict=True))), len(corrected))
