"""The run folder as a process sees it that only follows: the leader writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from plml.data.bundle import Bundle, Split
from plml.report import EpochReport
from plml.run_folder import RunFolder


class FollowedFolder(RunFolder):
    """Takes all that a trainer writes and keeps none of it. What it reads, the leader reads and tells."""

    def keep_scores(self, epoch: int, logits: Tensor) -> None:
        """Leave it to the leader."""

    def keep_matrix(self, epoch: int, name: str, matrix: Tensor) -> None:
        """Leave it to the leader."""

    def keep_best(self, content: Mapping[str, Any], *, copy: bool = True) -> None:
        """Leave it to the leader."""

    def write_epoch(self, stage: Bundle, epoch: int, content: Mapping[str, Any]) -> None:
        """Leave it to the leader."""

    def write_last(self, stage: Bundle, content: Mapping[str, Any], history: Sequence[EpochReport]) -> None:
        """Leave it to the leader."""

    def tell(self, report: EpochReport) -> EpochReport:
        """Return the report as it is."""
        return report

    def write_kept(self) -> None:
        """Leave it to the leader."""

    def write_result(self, test: Split, logits: Tensor, result: Mapping[str, Any]) -> None:
        """Leave it to the leader."""
