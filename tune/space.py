"""The search space: which TrainConfig paths vary, in which ranges, and under which conditions.

A study file gives ``{dotted path: range}``. One path may carry a list of ranges with different conditions
(each method its own learning rates); every range is then an Optuna parameter of its own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from plml.config import TrainConfig, make_config
from plml.errors import ConfigError, nearest
from tune.ranges import Choice, IntRange, Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

MAX_CONTEXTS = 64  # combinations of controlling choices under which ranges are tried out


@dataclass(frozen=True)
class Dimension:
    """One range of one path under one condition.

    Attributes:
        path: dotted TrainConfig path.
        name: Optuna's parameter name; the path itself unless the path has several ranges.
        range: the values.
        when: ``{path: allowed values}``; the dimension exists only where all hold.
    """

    path: str
    name: str
    range: Range
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def or_zero(self) -> bool:
        """Whether exactly zero is allowed beside the range."""
        return not isinstance(self.range, Choice) and self.range.or_zero

    @property
    def log(self) -> bool:
        """Whether the range is searched on a log scale."""
        return not isinstance(self.range, Choice) and self.range.log

    @property
    def gate(self) -> str:
        """Optuna's name of the choice between exactly zero and the range (``or_zero``)."""
        return f"{self.name}=0"

    def condition(self) -> str:
        """The condition as a person writes it."""
        return ", ".join(f"{path} = {' | '.join(map(str, values))}" for path, values in self.when.items())


@dataclass(frozen=True)
class SearchSpace:
    """Dimensions in an order in which every condition is decided before it is asked.

    Attributes:
        dimensions: all ranges.
        base_tree: the configuration that suggestions are laid over, as nested data.
        base: the same, resolved.
    """

    dimensions: tuple[Dimension, ...]
    base_tree: Mapping[str, Any]
    base: TrainConfig

    @property
    def is_conditional(self) -> bool:
        """Whether some parameter exists only under a condition."""
        return any(dimension.when or dimension.or_zero for dimension in self.dimensions)

    @property
    def paths(self) -> tuple[str, ...]:
        """The searched paths, in order."""
        return tuple(dict.fromkeys(dimension.path for dimension in self.dimensions))

    @property
    def log_paths(self) -> tuple[str, ...]:
        """The paths searched on a log scale."""
        return tuple(dict.fromkeys(d.path for d in self.dimensions if d.log))

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that a trial of this study may train."""
        chosen = [choice for d in self.dimensions if d.path == "method.name" for choice in d.range.probes()]
        return tuple(dict.fromkeys(chosen)) or (self.base.method["name"],)

    def holds(self, dimension: Dimension, values: Mapping[str, Any]) -> bool:
        """Whether the dimension exists, given the values of the paths decided so far."""
        return all(values.get(path, self._fixed.get(path)) in allowed for path, allowed in dimension.when.items())

    @cached_property
    def _fixed(self) -> dict[str, Any]:
        return self.base.flat()

    def suggest(self, trial: "BaseTrial") -> dict[str, Any]:
        """Ask Optuna for one point: ``{path: value}``."""
        values: dict[str, Any] = {}
        for dimension in self.dimensions:
            if self.holds(dimension, values):
                if dimension.or_zero and trial.suggest_categorical(dimension.gate, [False, True]):
                    values[dimension.path] = 0 if isinstance(dimension.range, IntRange) else 0.0
                else:
                    values[dimension.path] = dimension.range.suggest(trial, dimension.name)
        return values

    def to_params(self, values: Mapping[str, Any], where: str = "point") -> dict[str, Any]:
        """Return Optuna's parameters of ``{path: value}``, the inverse of :meth:`suggest`.

        Paths that are left out stay open for the sampler, as long as no condition of a given path needs them.

        Raises:
            ConfigError: a path is not searched, its condition does not hold, or its value is outside the range.
        """
        params: dict[str, Any] = {}
        for path, value in values.items():
            candidates = [d for d in self.dimensions if d.path == path]
            if not candidates:
                raise ConfigError(f"{where}: '{path}' is not in search_space{nearest(path, self.paths)}")
            missing = [p for d in candidates for p in d.when if p in self.paths and p not in values]
            if missing:
                raise ConfigError(f"{where}: '{path}' depends on {missing[0]}, so the point must give that too")
            active = [d for d in candidates if self.holds(d, values)]
            if not active:
                needs = " or ".join(d.condition() for d in candidates)
                raise ConfigError(f"{where}: '{path}' exists only when {needs}")
            params |= self._encode(active[0], value, where)
        return params

    def _encode(self, dimension: Dimension, value: Any, where: str) -> dict[str, Any]:
        gated = dimension.or_zero
        if gated and not isinstance(value, bool | str) and value == 0:
            return {dimension.gate: True}
        if not dimension.range.contains(value):
            zero = " or exactly 0" if gated else ""
            raise ConfigError(f"{where}: {dimension.path} must be {dimension.range.describe()}{zero}, got {value!r}")
        gate = {dimension.gate: False} if gated else {}
        return {**gate, dimension.name: dimension.range.encode(value)}

    def distributions(self, params: Mapping[str, Any]) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distributions of the given parameters."""
        from optuna.distributions import CategoricalDistribution

        found: dict[str, BaseDistribution] = {}
        for dimension in self.dimensions:
            if dimension.name in params:
                found[dimension.name] = dimension.range.distribution()
            if dimension.gate in params:
                found[dimension.gate] = CategoricalDistribution([False, True])
        return found

    def cells(self) -> Iterator[dict[str, Any]]:
        """Yield every point of a finite space, conditions respected, last path fastest.

        Raises:
            ConfigError: some range is continuous.
        """
        for dimension in self.dimensions:
            if dimension.range.grid() is None:
                raise ConfigError(
                    f"search_space.{dimension.path}: sampler grid needs finitely many values, and this is "
                    f"{dimension.range.describe()}; list choices, or give it a step"
                )
        yield from self._extend({}, 0, all_values=set(self.paths))

    def _extend(self, values: dict[str, Any], place: int, all_values: set[str]) -> Iterator[dict[str, Any]]:
        """Complete ``values`` from dimension ``place`` on; paths outside ``all_values`` take one value only."""
        if place == len(self.dimensions):
            yield values
            return
        dimension = self.dimensions[place]
        if not self.holds(dimension, values):
            yield from self._extend(values, place + 1, all_values)
            return
        every = dimension.range.grid() if dimension.path in all_values else None
        for value in every if every is not None else dimension.range.probes()[:1]:
            yield from self._extend({**values, dimension.path: value}, place + 1, all_values)

    def by_method(self) -> dict[str, TrainConfig]:
        """Return for each method one configuration that the study may train: the first value of everything else."""
        configs = map(self.resolve, self._extend({}, 0, all_values={"method.name"}))
        return {config.method["name"]: config for config in configs}

    def resolve(self, values: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration of a point; raise ConfigError if it cannot be trained."""
        chosen = dict(values)
        if chosen.get("method.name") == self.base.method["name"]:
            del chosen["method.name"]  # setting a name drops the method's fixed options; here it stays the same
        return make_config(self.base_tree, chosen)

    def check(self) -> None:
        """Build a configuration with both ends of every range and every choice; raise ConfigError for a bad one."""
        controlling = {path for dimension in self.dimensions for path in dimension.when}
        controlling |= {path for path in self.paths if path.endswith(".name")}  # what is named decides which keys exist
        contexts = [c for c, _ in zip(self._extend({}, 0, controlling), range(MAX_CONTEXTS), strict=False)]
        for dimension in self.dimensions:
            # Conditions look at earlier paths only, so a value of this one may drop or add later ones.
            active = [c for c in contexts if self.holds(dimension, c)]
            if not active:
                raise ConfigError(
                    f"search_space.{dimension.path}: no choice fulfils its when ({dimension.condition()})"
                )
            place = self.dimensions.index(dimension)
            for context in active:
                before = {d.path: context[d.path] for d in self.dimensions[:place] if d.path in context}
                for value in dimension.range.probes():
                    values = next(self._extend({**before, dimension.path: value}, place + 1, set()))
                    try:
                        self.resolve(values)
                    except ConfigError as error:
                        others = brief({p: v for p, v in values.items() if p in controlling - {dimension.path}})
                        where = f"search_space.{dimension.path} = {value!r}" + (f" with {others}" if others else "")
                        raise ConfigError(f"{where}: {error}") from None

    def spec(self) -> list[dict[str, Any]]:
        """Return the space as plain data, for comparing two versions of a study."""
        return [
            {
                "name": d.name,
                "path": d.path,
                "range": d.range.model_dump(),
                "when": {k: list(v) for k, v in d.when.items()},
            }
            for d in self.dimensions
        ]


def brief(values: Mapping[str, Any]) -> str:
    """Return ``{path: value}`` on one line, numbers to three figures."""
    texts = {
        path: f"{v:.3g}" if isinstance(v, float) else v if isinstance(v, str) else json.dumps(v)
        for path, v in values.items()
    }
    return "  ".join(f"{path}={text}" for path, text in texts.items())
