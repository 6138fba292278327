"""What differs between runs, and what says that their figures should not be compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plml.compare.runs import ComparedRun
from plml.image_resamples import bias_corrected_interval, resample_weights
from plml.weighted_precision import weighted_mean_average_precision

ABSENT = "-"
# What the labels, the split and the images of a run follow from.
_DATA = (
    "data.name",
    "data.root",
    "data.options",
    "data.split_seed",
    "data.val_fraction",
    "data.image_size",
    "data.sub",
)
_LABELS = ("data.observation", "data.observation_seed", "data.expected_positives")


@dataclass(frozen=True)
class Row:
    """A line of a table: one value a run.

    Attributes:
        name: dotted path, figure or class.
        values: by run; None where a run has none.
    """

    name: str
    values: tuple[Any, ...]

    def difference(self, place: int) -> float | None:
        """Return a run's figure less the first run's; None unless both have one."""
        first, other = self.values[0], self.values[place]
        return None if first is None or other is None else other - first

    @property
    def spread(self) -> float:
        """The largest figure less the smallest, 0 with fewer than two."""
        known = [value for value in self.values if value is not None]
        return max(known) - min(known) if len(known) > 1 else 0.0


@dataclass(frozen=True)
class ImageInterval:
    """How far the difference of test mAP between a run and the first one would move with other test images.

    Attributes:
        difference: in points.
        low: of the 95 % interval.
        high: of the 95 % interval.
    """

    difference: float
    low: float
    high: float


def config_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """Return the configuration's paths whose values differ, in their order."""
    flats = [run.config.flat() for run in runs]
    paths = dict.fromkeys(path for flat in flats for path in flat)
    rows = [Row(path, tuple(flat.get(path) for flat in flats)) for path in paths]
    return [row for row in rows if len({repr(value) for value in row.values}) > 1]


def stamp_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """Return what each run is stamped with: label setting, what chose its epoch, which epoch, seed."""
    settings = []
    for run in runs:
        options = {key: value for key, value in run.config.data.observation.items() if key != "name"}
        told = ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
        settings.append(f"{run.config.data.observation['name']}{f' ({told})' if told else ''}")
    return [
        Row("method", tuple(run.config.method["name"] for run in runs)),
        Row("data", tuple(run.config.data.name for run in runs)),
        Row("label setting", tuple(settings)),
        Row("label draw", tuple(str(run.config.data.observation_seed) for run in runs)),
        Row("seed", tuple(str(run.config.seed) for run in runs)),
        Row("chosen by", tuple(run.config.selected_by for run in runs)),
        Row("chosen epoch", tuple(ABSENT if run.best is None else str(run.best.epoch) for run in runs)),
        Row("epochs", tuple(f"{len(run.reports)} of {run.config.total_epochs}" for run in runs)),
    ]


def figure_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """Return every figure of the chosen epochs and of test, test mAP first."""
    figures = [run.figures() for run in runs]
    names = dict.fromkeys(name for each in figures for name in each)
    order = sorted(names, key=lambda name: (not name.endswith("/mAP"), not name.startswith("test/")))
    return [Row(name, tuple(each.get(name) for each in figures)) for name in order]


def class_rows(runs: Sequence[ComparedRun]) -> list[Row]:
    """Return the average precision on test by class: two runs: by difference, else by spread, largest first."""
    precisions = [run.class_precision() for run in runs]
    names = dict.fromkeys(name for each in precisions for name in each)
    rows = [Row(name, tuple(each.get(name) for each in precisions)) for name in names]
    if len(runs) == 2:
        return sorted(rows, key=lambda row: -(row.difference(1) or 0.0))
    return sorted(rows, key=lambda row: -row.spread)


def warnings(runs: Sequence[ComparedRun]) -> list[str]:
    """Return why figures of these runs should not be compared, or only with care, a line each."""
    found: list[str] = []
    for run in runs:
        found += run.damage
        if run.result is None:
            done = f"{len(run.reports)} of {run.config.total_epochs} epochs"
            found.append(f"{run.name} is not trained to its end ({done}): it has no test figures")
    for what, kind in (
        ("test images or their labels", "test labels"),
        ("validation images", "validation images"),
    ):
        if len({run.digests[kind] for run in runs if kind in run.digests}) > 1:
            part = "test" if kind == "test labels" else "validation"
            found.append(f"the runs have other {what}: their {part} figures cannot be compared{_because(runs, _DATA)}")
    if len({run.result["data_digest"] for run in runs if run.result and "data_digest" in run.result}) > 1:
        found.append(f"the runs learned from other images or other observed labels{_because(runs, _DATA + _LABELS)}")
    elif len({run.digests["validation labels"] for run in runs if "validation labels" in run.digests}) > 1:
        found.append(f"the runs saw other observed labels{_because(runs, _LABELS)}")
    if len({run.config.selected_by for run in runs}) > 1:
        found.append(
            "the runs chose their epochs by other figures or labels: a difference may be one of the choice, not of the "
            f"training ({'; '.join(f'{run.name}: {run.config.selected_by}' for run in runs)})"
        )
    told = [run.name for run in runs if run.config.choosing.uses_truth and not _is_complete(run)]
    if told:
        found.append(f"chosen by what their label setting does not have, the truth: {', '.join(told)}")
    if len({run.config.compat for run in runs}) > 1:
        found.append("the runs have another compat: their figures are not computed alike")
    return found


def _is_complete(run: ComparedRun) -> bool:
    """Whether a run's setting has every label, so that observed labels are the clean ones."""
    return bool(run.config.data.observation["name"] == "fully_observed")


def _because(runs: Sequence[ComparedRun], paths: Sequence[str]) -> str:
    """Name the configuration's paths that explain it."""
    rows = [row for row in config_rows(runs) if row.name.startswith(tuple(paths))]
    told = [f"{row.name}: {', '.join(map(show, row.values))}" for row in rows]
    return f" ({'; '.join(told)})" if told else ""


def show(value: Any) -> str:
    """Return a configuration's value as it is printed."""
    return ABSENT if value is None else str(value)


def image_intervals(runs: Sequence[ComparedRun]) -> list[ImageInterval | None]:
    """Return for each run but the first how sure its difference to the first is over the test images.

    A paired bootstrap: both runs meet the same resamples. None where scores are not kept or the images differ.
    """
    first, *others = runs
    found: list[ImageInterval | None] = [None] * len(others)
    alike = [i for i, run in enumerate(others) if run.digests.get("test labels") == first.digests.get("test labels")]
    if first.tested is None or not alike:
        return found
    weights = resample_weights(len(first.tested[1]))
    reference = weighted_mean_average_precision(*first.tested, weights)
    for place in alike:
        tested = others[place].tested
        if tested is not None:
            difference = weighted_mean_average_precision(*tested, weights) - reference
            bounds = bias_corrected_interval(difference)
            found[place] = None if bounds is None else ImageInterval(float(difference[0]), *bounds)
    return found
