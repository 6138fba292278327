"""One configuration trained with several seeds in lockstep, seen from outside as one run whose figures are means."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
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
        self.history: list[EpochReport] = []
        self.collect()

    def collect(self) -> None:
        """Add the means of the epochs that every trainer has evaluated by now."""
        longest = max(len(trainer.history) for trainer in self.trainers)
        common = min(longest if trainer.finished else len(trainer.history) for trainer in self.trainers)
        for place in range(len(self.history), common):
            reports = [trainer.history[min(place, len(trainer.history) - 1)] for trainer in self.trainers]
            self.history.append(mean_report(reports))
        write_json_lines(self.folder / "metrics.jsonl", [asdict(report) for report in self.history])

    @property
    def finished(self) -> bool:
        """Whether every trainer came to its end."""
        return all(trainer.finished for trainer in self.trainers)

    def epochs(self) -> Generator[EpochReport, None, None]:
        """Train all seeds one epoch, yield the means, and so on; nothing if the run is complete."""
        known = len(self.history)
        with ExitStack() as stack:
            running = [stack.enter_context(closing(trainer.epochs())) for trainer in self.trainers]
            while not self.finished:
                behind = min(len(trainer.history) for trainer in self.trainers if not trainer.finished)
                for trainer, epochs in zip(self.trainers, running, strict=True):
                    if not trainer.finished and len(trainer.history) == behind:
                        next(epochs)
                self.collect()
                for place in range(known, len(self.history)):
                    yield self.history[place]
                known = len(self.history)


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
