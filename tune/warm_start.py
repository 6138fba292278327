"""What another study of the same methods learnt, for the sampler alone (``warm_start: STUDY``).

The two studies may differ in data set, label setting, seed or fixed options, so their values lie on different
levels: an mAP of 60 is good on one data set and poor on another. The sampler therefore sees each trial, of either
study, by its place among the trials of its own study, as a quantile in (0, 1). That is the transfer of
Salinas, Shen and Perrone, "A Quantile-based Approach for Hyperparameter Transfer Learning", ICML 2020,
arXiv:1909.13595: what carries over is which configurations are better, not by how much.

Trials of the other study are never stored among the study's own, so they cannot count in budget, tables or best.
"""

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState, create_trial

from plml.errors import ConfigError, nearest
from plml.user_path import user_path
from tune.folders import StudyFolder
from tune.records import counted_trials, open_study
from tune.study import Study, load_study

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
LEARNING = ("tpe", "gp")  # samplers that learn from any trial; cmaes needs its own generations


def find_teacher(study: Study, output: Path) -> StudyFolder | None:
    """Return the folder of the study that ``warm_start`` names; None if the key is not given.

    Args:
        study: the study that is to learn.
        output: the output folder, where names are looked up.

    Raises:
        ConfigError: there is no such study, it is the study itself, or the sampler cannot learn from it.
    """
    name = study.config.warm_start
    if name is None:
        return None
    if study.config.sampler.name not in LEARNING:
        raise ConfigError(
            f"warm_start: sampler {study.config.sampler.name} does not learn from other trials; "
            f"use {' or '.join(LEARNING)}, or leave warm_start out"
        )
    path = user_path(name) if "/" in name else output / name
    folder = StudyFolder(path.absolute())
    if not folder.storage_file.is_file() or not folder.study_file.is_file():
        begun = [file.parent.name for file in path.parent.glob("*/study.yaml")] if path.parent.is_dir() else []
        raise ConfigError(
            f"warm_start: there is no study '{path.name}' in {path.parent.absolute()}{nearest(path.name, begun)}"
        )
    if folder.path == (output / study.name).absolute():
        raise ConfigError(f"warm_start: '{name}' is the study itself; a study knows its own trials")
    return folder


def lessons(study: Study, teacher: StudyFolder) -> tuple[list[dict[str, Any]], int]:
    """Return what the other study's finished trials teach, as plain data, and how many trials do not fit.

    A parameter that only this study searches takes the value that the other one trained with; a trial fits if
    all values lie within this study's ranges and its method is one of this study's.

    Raises:
        ConfigError: the other study cannot be read, or optimises in the other direction.
    """
    old = open_study(teacher)
    if (old.direction.name == "MAXIMIZE") != (study.config.objective.mode == "max"):
        raise ConfigError(f"warm_start: study '{teacher.name}' does not optimise towards {study.config.objective.mode}")
    theirs = load_study(teacher.study_file)
    fitting: list[tuple[FrozenTrial, dict[str, Any]]] = []
    refused = 0
    for trial in counted_trials(old, FINISHED):
        try:
            values = _values_here(study, theirs.space.resolve(trial.user_attrs["values"]).flat())
        except ConfigError:
            refused += 1
        else:
            fitting.append((trial, values))
    quantiles = quantiles_of([trial for trial, _ in fitting])
    learnt = [
        {
            "values": values,
            "state": trial.state.name,
            "quantile": quantiles.get(trial.number),
            "step": trial.last_step,
            "constraints": {
                name: value for name, value in trial.system_attrs.items() if name.startswith("constraints")
            },
        }
        for trial, values in fitting
    ]
    return learnt, refused


def _values_here(study: Study, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of this study's parameters in a configuration; raise ConfigError if it is outside the space."""
    space = study.space
    if "method.name" not in space.paths and flat["method.name"] != study.base.method["name"]:
        raise ConfigError(f"method {flat['method.name']} is not that of this study")
    values: dict[str, Any] = {}
    for dimension in space.dimensions:
        if space.holds(dimension, values):
            if dimension.path not in flat:
                raise ConfigError(f"{dimension.path} does not exist there")
            values[dimension.path] = flat[dimension.path]
    space.to_params(values)
    return values


def prior_trials(study: Study, learnt: Sequence[Mapping[str, Any]]) -> list[FrozenTrial]:
    """Return the trials that the sampler is shown for :func:`lessons`; they are older than any of the study's own."""
    trials = []
    for place, lesson in enumerate(learnt):
        params = study.space.to_params(lesson["values"])
        state, quantile = TrialState[lesson["state"]], lesson["quantile"]
        complete = state == TrialState.COMPLETE
        trial = create_trial(
            state=state,
            value=quantile,
            params=params,
            distributions=study.space.distributions(params),
            system_attrs=dict(lesson["constraints"]),
            intermediate_values={} if complete or quantile is None else {lesson["step"]: quantile},
        )
        trial.number = place - len(learnt)
        trials.append(trial)
    return trials


def quantiles_of(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """Return the place of each trial's value among the others, by number, in (0, 1); equal values share the middle.

    Complete and pruned trials are ranked apart, because the value of a pruned one is that of an early epoch.
    Trials without a value have no place.
    """
    places: dict[int, float] = {}
    for state in FINISHED:
        valued = {t.number: t.value for t in trials if t.state == state and t.value is not None}
        ordered = sorted(valued.values())
        for number, value in valued.items():
            middle = (bisect_left(ordered, value) + bisect_right(ordered, value)) / 2
            places[number] = middle / len(ordered)
    return places


class InformedSampler(BaseSampler):
    """A sampler that draws one trial of a study with prior knowledge.

    Args:
        sampler: draws; it is shown the prior trials, and the study's own with quantiles for values.
        prior: see :func:`prior_trials`.
    """

    def __init__(self, sampler: BaseSampler, prior: Sequence[FrozenTrial]) -> None:
        self._sampler, self._prior = sampler, prior
        self._view: _View | None = None

    def _informed(self, study: OptunaStudy) -> Any:
        if self._view is None:
            self._view = _View(study, self._prior)
        return self._view

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does, over both studies."""
        return self._sampler.infer_relative_search_space(self._informed(study), trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does, over both studies."""
        return self._sampler.sample_relative(self._informed(study), trial, search_space)

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does, over both studies."""
        return self._sampler.sample_independent(self._informed(study), trial, param_name, param_distribution)

    def after_trial(
        self, study: OptunaStudy, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the sampler does."""
        self._sampler.after_trial(study, trial, state, values)


class _View:
    """An Optuna study as the sampler is to see it: the prior trials, then the study's own by their quantiles."""

    def __init__(self, study: OptunaStudy, prior: Sequence[FrozenTrial]) -> None:
        self._study, self._prior = study, prior
        self._all: list[FrozenTrial] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        del use_cache  # the view lasts for one draw, and nothing changes meanwhile
        if self._all is None:
            own = self._study._get_trials(deepcopy=False)
            quantiles = quantiles_of(own)
            self._all = [*self._prior, *(_ranked(trial, quantiles.get(trial.number)) for trial in own)]
        found = [trial for trial in self._all if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)


def _ranked(trial: FrozenTrial, quantile: float | None) -> FrozenTrial:
    """A copy of a finished trial with its quantile for its value; trials without one stay as they are."""
    if quantile is None:
        return trial
    shown = copy.copy(trial)
    shown.value = quantile
    if trial.state == TrialState.PRUNED and trial.last_step is not None:
        shown.intermediate_values = {trial.last_step: quantile}
    return shown
