"""A study: a base configuration, a search space, an objective and a budget, all checked before Ray starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plml.config import TrainConfig, make_config
from plml.errors import ConfigError, nearest
from plml.schema import assign
from plml.user_path import user_path
from tune.expansion import build_space
from tune.folders import MAX_NAME, is_plain_name
from tune.space import SearchSpace
from tune.study_file import StudyConfig, name_of, read_study_file


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        name: the file's stem, or the name given to a fork; folder, ledger and experiment bear it.
        config: the file's content, overrides applied.
        space: the search space over the resolved base configuration.
        points: Optuna parameters of the points to try first.
    """

    name: str
    config: StudyConfig
    space: SearchSpace
    points: tuple[dict[str, Any], ...]

    @property
    def base(self) -> TrainConfig:
        """The base configuration."""
        return self.space.base

    def budget(self) -> int:
        """Return how many unique configurations are to be tried."""
        if self.config.sampler.name == "grid":
            size = sum(1 for _ in self.space.cells())
            return min(size, self.config.n_trials or size)
        return self.config.n_trials or 20

    def spec(self) -> dict[str, Any]:
        """Return what must not change under a study with finished trials, as plain data."""
        return {
            "base": self.base.computed(),
            "search_space": {item.pop("name"): item for item in self.space.spec()},
            "objective": self.config.objective.model_dump(),
            "seeds": self.config.seeds,
        }


def load_study(
    file: Path, assignments: Sequence[str] = (), *, name: str | None = None, options: Mapping[str, Any] | None = None
) -> Study:
    """Read and check a study file.

    Args:
        file: the YAML file.
        assignments: ``path=value``, for a path of the base configuration or a key of the study.
        name: the study's name; default: the file's stem, or its folder's name for a study begun before.
        options: ``{dotted study key: value}`` from the command line.

    Raises:
        ConfigError: every fault with its path, rule, value and nearest valid name.
    """
    config = read_study_file(file, assignments, options)
    try:
        return make_study(name or name_of(file), config)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def make_study(name: str, config: StudyConfig) -> Study:
    """Return the study of a file's content; raise ConfigError."""
    base_tree = absolute_paths(config.base)
    space = build_space(config.search_space, base_tree, make_config(base_tree))
    space.check()
    study = Study(name, config, space, _points(config, space))
    _check_together(study)
    return study


def reported_metrics() -> list[str]:
    """Return the names of the validation figures in every epoch's report."""
    import torch

    from plml.metrics import multilabel_metrics

    names = multilabel_metrics(torch.zeros(2, 1), torch.tensor([[1], [0]]))
    return ["selection/best", "selection/value", "val_observed/mAP", *(f"val/{name}" for name in names)]


def absolute_paths(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration tree with absolute file names, because workers may run in another folder."""
    for path in ("data.root", "model.weights", "data.observation.path", "method.prior_file", "method.graph_file"):
        value = _value_at(tree, path)
        if isinstance(value, str) and (path == "data.root" or _exists(value)):
            tree = assign(tree, path, str(user_path(value).absolute()))
    return tree


def _value_at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _exists(file: str) -> bool:
    """Whether there is such a file, or one for the training part."""
    return user_path(file.replace("{part}", "train")).exists()


def _points(config: StudyConfig, space: SearchSpace) -> tuple[dict[str, Any], ...]:
    points = []
    for place, point in enumerate(config.points):
        points.append(space.to_params(point, f"points[{place}]"))
        if len(point) == len(space.paths):
            space.resolve(point)
    return tuple(points)


def _check_together(study: Study) -> None:
    """Rules between parts of a study."""
    config, space = study.config, study.space
    if config.objective.metric not in (known := reported_metrics()):
        raise ConfigError(
            f"objective.metric must be a figure that every epoch reports, got "
            f"'{config.objective.metric}'{nearest(config.objective.metric, known)}"
        )
    if not is_plain_name(study.name):
        raise ConfigError(
            f"a study's name consists of up to {MAX_NAME} letters, digits, '_', '-' and '.', got '{study.name}'"
        )
    if config.seeds and "seed" in space.paths:
        raise ConfigError("seeds: the search space varies 'seed', so a trial cannot be repeated over seeds")
    if config.sampler.name == "grid":
        next(space.cells())  # raises when some range is continuous
        if config.points:
            raise ConfigError("points: sampler grid visits every point anyway; leave them out")
    if config.sampler.name == "cmaes" and all(not d.range.probes() or d.when for d in space.dimensions):
        raise ConfigError("sampler cmaes needs an unconditional numeric range; use tpe")
    if config.pruner.name == "patient" and config.pruner.patience is None:
        raise ConfigError("pruner patient needs patience, the epochs without improvement that are tolerated")
