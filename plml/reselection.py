"""Any criterion, applied to runs that are finished: what it would have picked, and what that pick is worth on test.

Runs are compared where data set, label setting, label draw and split are the same. Test figures judge the criteria
here; a test figure that was never computed is unknown, and stays so.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plml.disagreement import Disagreement
from plml.evaluation import Validation
from plml.judge import applicable
from plml.label_bias import find_disagreement
from plml.rank_correlation import kendall
from plml.selection import CRITERIA
from plml.selection_config import SelectionConfig
from plml.standings import Standings
from plml.stored_runs import StoredRun, find_run_folders, read_stored_run


@dataclass(frozen=True)
class Pick:
    """A run at an epoch.

    Attributes:
        run: the run.
        epoch: the epoch.
        value: the criterion's value there.
        test_map: its test mAP in percent; None if it is unknown.
    """

    run: StoredRun
    epoch: int
    value: float
    test_map: float | None


@dataclass(frozen=True)
class Outcome:
    """What one criterion makes of the runs of a group. Figures are in mAP points; None is unknown.

    Attributes:
        chosen: the criterion and its labels.
        own: of each run, the epoch that the criterion picks.
        pick: the best of them by the criterion.
        regret: mAP lost on test by the pick against the best pick known.
        method_regret: the same when each method is searched for itself, mean over methods.
        level_error: value less test mAP, mean over runs; None where the value is no mAP.
        run_tau: Kendall's tau-b of value and test mAP over runs, each at its own pick.
        epoch_tau: the same over all runs and epochs; None unless the test mAP of every epoch is known.
        unknown: runs whose own pick has no known test mAP.
    """

    chosen: SelectionConfig
    own: tuple[Pick, ...]
    pick: Pick
    regret: float | None
    method_regret: float | None
    level_error: float | None
    run_tau: float | None
    epoch_tau: float | None
    unknown: int


@dataclass(frozen=True)
class Group:
    """Runs that can be compared, and what every criterion makes of them.

    Attributes:
        data: name of the data set.
        observation: the label setting, ``{name, **options}``.
        observation_seed: of the label draw.
        images: of the validation split.
        runs: the runs.
        outcomes: of every criterion, those that use no truth first.
        best: the best test mAP known, in percent, of any run at any epoch.
        disagreement: whether labels seem to be seen by chance; None where label bias makes no sense.
    """

    data: str
    observation: Mapping[str, object]
    observation_seed: int
    images: int
    runs: tuple[StoredRun, ...]
    outcomes: tuple[Outcome, ...]
    best: float
    disagreement: Disagreement | None

    @property
    def setting(self) -> str:
        """Data set and label setting in words, without the draw."""
        options = {key: value for key, value in self.observation.items() if key != "name"}
        told = f" {json.dumps(options, sort_keys=True)}" if options else ""
        return f"{self.data}, {self.observation['name']}{told}"

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return sorted({run.method for run in self.runs})

    @property
    def knows_every_epoch(self) -> bool:
        """Whether the test mAP of every epoch of every run is known."""
        return all(run.knows_every_epoch for run in self.runs)


@dataclass(frozen=True)
class Reselection:
    """All groups that were found.

    Attributes:
        groups: ordered by data set, label setting and draw.
        left_out: folder and reason of each run that cannot be compared.
    """

    groups: tuple[Group, ...]
    left_out: tuple[tuple[Path, str], ...]


def reselect(
    folders: Iterable[Path], *, criteria: Sequence[str] | None = None, clean_images: Sequence[int] = (200,)
) -> Reselection:
    """Apply criteria to the runs in ``folders``.

    Args:
        folders: run folders; a configuration that several hold counts once.
        criteria: names such as ``map``, ``corrected_ap``, ``corrected_ap:known``, ``clean:200``; default: every one
            that applies. Without any, only signs of label bias are looked for.
        clean_images: numbers of verified images to choose by; those that exceed the validation split are left out.
    """
    runs: dict[tuple[object, ...], list[StoredRun]] = {}
    left_out: list[tuple[Path, str]] = []
    seen: set[tuple[str, str]] = set()
    for folder in folders:
        run = read_stored_run(folder)
        if isinstance(run, str):
            left_out.append((folder, run))
        elif (name := (run.config.fingerprint, run.data_digest)) not in seen:
            seen.add(name)
            runs.setdefault(_kind(run), []).append(run)
    groups = [_group(tuple(alike), criteria, clean_images) for alike in runs.values()]
    groups.sort(key=lambda group: (group.setting, group.observation_seed))
    return Reselection(tuple(groups), tuple(left_out))


def reselect_below(paths: Iterable[Path], **options: Sequence[str] | None) -> Reselection:
    """Apply :func:`reselect` to every run folder at and below ``paths``."""
    return reselect(find_run_folders(paths), **options)  # type: ignore[arg-type]


def _kind(run: StoredRun) -> tuple[object, ...]:
    """What comparable runs have in common."""
    data = run.config.data
    return (
        data.name,
        json.dumps(data.observation, sort_keys=True),
        data.observation_seed,
        run.data_digest,
        run.labels_digest,
        run.config.compat,
        run.expected_positives,
    )


def _group(runs: tuple[StoredRun, ...], criteria: Sequence[str] | None, clean_images: Sequence[int]) -> Group:
    first = runs[0]
    truth, observed = first.labels()
    observation, k = first.config.data.observation, first.expected_positives
    counts = [count for count in clean_images if count < len(truth)]
    choices = applicable(observation, expected_positives=k, clean_images=counts)
    wanted = [chosen for chosen in choices if criteria is None or _is_wanted(chosen, criteria)]
    values = _values(runs, wanted, Validation(truth, observed, k)) if wanted else {}
    best = max(value for run in runs for value in run.test_map.values())
    return Group(
        data=first.config.data.name,
        observation=observation,
        observation_seed=first.config.data.observation_seed,
        images=len(truth),
        runs=runs,
        outcomes=tuple(_outcome(chosen, runs, values[chosen], best) for chosen in wanted),
        best=best,
        disagreement=find_disagreement(runs),
    )


def _is_wanted(chosen: SelectionConfig, criteria: Sequence[str]) -> bool:
    return chosen.label in criteria or chosen.label.partition(":")[0] in criteria


Values = list[dict[int, float]]  # by run: epoch -> value


def _values(
    runs: Sequence[StoredRun], choices: Sequence[SelectionConfig], validation: Validation
) -> dict[SelectionConfig, Values]:
    """Apply every criterion to every epoch; classes are sorted once for all of them."""
    found: dict[SelectionConfig, Values] = {chosen: [] for chosen in choices}
    for run in runs:
        for values in found.values():
            values.append({})
        for epochs, logits in run.logits():
            standings = Standings(logits, run.config.compat)
            for chosen, values in found.items():
                judge = validation.judge(chosen, run.config.data.observation)
                told = judge.values(logits, run.config.compat, standings).tolist()
                values[-1].update(zip(epochs, told, strict=True))
    return found


def _outcome(chosen: SelectionConfig, runs: Sequence[StoredRun], values: Values, best: float) -> Outcome:
    own = []
    for run, of_run in zip(runs, values, strict=True):
        epoch = max(of_run, key=of_run.__getitem__)  # the first maximum, as in training
        own.append(Pick(run, epoch, of_run[epoch], run.test_map.get(epoch)))
    pick = max(own, key=lambda one: one.value)
    known = [(one.value, one.test_map) for one in own if one.test_map is not None]
    all_known = all(run.knows_every_epoch for run in runs)
    every = [
        (of_run[e], run.test_map[e]) for run, of_run in zip(runs, values, strict=True) for e in of_run if all_known
    ]
    on_map_scale = chosen.labels == "clean" or CRITERIA[chosen.criterion].on_map_scale
    return Outcome(
        chosen=chosen,
        own=tuple(own),
        pick=pick,
        regret=None if pick.test_map is None else best - pick.test_map,
        method_regret=_method_regret(own),
        level_error=mean([value - test for value, test in known]) if on_map_scale else None,
        run_tau=kendall(known),
        epoch_tau=kendall(every),
        unknown=len(own) - len(known),
    )


def _method_regret(own: Sequence[Pick]) -> float | None:
    """Mean over methods of what the method's own pick loses; None if one of these picks is unknown."""
    methods: dict[str, list[Pick]] = {}
    for one in own:
        methods.setdefault(one.run.method, []).append(one)
    lost = []
    for picks in methods.values():
        test = max(picks, key=lambda one: one.value).test_map
        if test is None:
            return None
        lost.append(max(value for one in picks for value in one.run.test_map.values()) - test)
    return mean(lost)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known, None without one."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
