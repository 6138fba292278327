"""``metrics.jsonl``: a line for every epoch that was ever completed, written when it is, and never changed.

The record of a run (``last.pt``) may lie a few epochs behind. What a killed run trains again is not told again: the
line stays as it was, time stamps included, and so does whatever was told of it elsewhere.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from plml.checkpoint import named, write_json_lines
from plml.report import EpochReport

CLOCK = "time/epoch_s"  # the one figure that differs when an epoch is trained again


class ReportLog:
    """The reports of one run.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._told: dict[int, EpochReport] = {}

    def open(self, recorded: Sequence[EpochReport] = ()) -> None:
        """Read what is there; ``recorded``, from the run's record, counts where the two differ."""
        last = recorded[-1].epoch if recorded else -1
        later = [report for report in read_reports(self.file.parent) if report.epoch > last]
        self._told = {report.epoch: report for report in (*recorded, *later)}
        if self._told or self.file.exists():
            write_json_lines(self.file, [asdict(report) for report in self._told.values()])

    def tell(self, report: EpochReport) -> EpochReport:
        """Add a line and return the report; for an epoch that has one already, with the clock of that one."""
        first = self._told.setdefault(report.epoch, report)
        if first is not report:
            clock = first.metrics.get(CLOCK, report.metrics[CLOCK])
            return replace(report, time=first.time, metrics={**report.metrics, CLOCK: clock})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with named(self.file), self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(report)) + "\n")
        return report


def read_reports(folder: Path) -> list[EpochReport]:
    """Return the reports in a run folder's ``metrics.jsonl``; a damaged line and what follows it is left out."""
    file = folder / "metrics.jsonl"
    reports: list[EpochReport] = []
    if not file.is_file():
        return reports
    for line in file.read_bytes().splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
            report = EpochReport(**row)
        except (ValueError, TypeError):
            break
        if not _is_plausible(report, reports[-1].epoch if reports else -1):
            break
        reports.append(report)
    return reports


def _is_plausible(report: EpochReport, before: int) -> bool:
    """Whether a line that reads like a report is one; a flipped bit may leave JSON behind."""
    return isinstance(report.epoch, int) and report.epoch > before and isinstance(report.metrics, dict)
