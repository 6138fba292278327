"""One configuration trained with several seeds in lockstep, seen from outside as one run whose figures are means."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from plml.checkpoint import write_json_lines
from plml.report import EpochReport
from plml.trainer import Trainer


class Repeats:
    """Trainers of the same configuration with different seeds.

    An epoch is reported once every trainer has evaluated it; a trainer that a stopping rule ended keeps its
    last figures. ``metrics.jsonl`` in the folder holds the means; each trainer's files lie in its own folder.

    Args:
        trainers: one for each seed; some may have come further than others before an interruption.
        folder: the trial's run folder.

    Attributes:
        history: mean reports of the epochs that every trainer has evaluated.
    """

    def __init__(self, trainers: Sequence[Trainer], folder: Path) -> None:
        self.trainers, self.folder = trainers, folder
        longest = max(len(trainer.history) for trainer in trainers)
        common = min(longest if trainer.finished else len(trainer.history) for trainer in trainers)
        self.history = [
            mean_report([trainer.history[min(place, len(trainer.history) - 1)] for trainer in trainers])
            for place in range(common)
        ]
        self._write()

    @property
    def finished(self) -> bool:
        """Whether every trainer came to its end."""
        return all(trainer.finished for trainer in self.trainers)

    def epochs(self) -> Iterator[EpochReport]:
        """Train all seeds one epoch, yield the means, and so on; nothing if the run is complete."""
        places = [iter(chain(list(trainer.history), trainer.epochs())) for trainer in self.trainers]
        last: list[EpochReport | None] = [None] * len(places)
        known = len(self.history)
        for place in range(max(trainer.config.total_epochs for trainer in self.trainers)):
            fresh = [next(series, None) for series in places]
            if all(report is None for report in fresh):
                return
            last = [new or old for new, old in zip(fresh, last, strict=True)]
            if place < known:
                continue
            self.history.append(mean_report([report for report in last if report is not None]))
            self._write()
            yield self.history[-1]

    def _write(self) -> None:
        write_json_lines(self.folder / "metrics.jsonl", [asdict(report) for report in self.history])


def mean_report(reports: Sequence[EpochReport]) -> EpochReport:
    """Return the mean of what all ``reports`` have in common; it is final when all of them are."""
    common = set.intersection(*(set(report.metrics) for report in reports))
    return EpochReport(
        epoch=max(report.epoch for report in reports),
        metrics={
            name: sum(report.metrics[name] for report in reports) / len(reports)
            for name in reports[0].metrics
            if name in common
        },
        time=max(report.time for report in reports),
        final=all(report.final for report in reports),
    )
