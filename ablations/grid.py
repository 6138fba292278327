"""A checked grid: its cells, the design that chose them, and the runs of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.base import Base, read_base
from ablations.factors import Factor, Level, level_name, short_name
from ablations.grid_file import STORE_NAMES, GridConfig, name_of, read_grid_file
from plml.config import TrainConfig
from plml.errors import ConfigError
from plml.observation import OBSERVATIONS
from tune.folders import MAX_NAME, is_plain_name


@dataclass(frozen=True)
class Cell:
    """One combination of levels.

    Attributes:
        label: what it is called in tables; no two cells of a grid share it.
        levels: ``{factor: level}`` of the factors that exist in it, in order.
        config: its configuration, with the first seed and the first label draw.
    """

    label: str
    levels: Mapping[str, Level]
    config: TrainConfig

    @property
    def draws_labels(self) -> bool:
        """Whether another observation seed gives other labels; ``fully_observed`` has but one draw."""
        return OBSERVATIONS[self.config.data.observation["name"]].random

    def at(self, seed: int, label_draw: int) -> TrainConfig:
        """Return the configuration with these seeds."""
        return with_seeds(self.config, seed, label_draw)


def with_seeds(config: TrainConfig, seed: int, label_draw: int) -> TrainConfig:
    """Return ``config`` with a training seed and an observation seed."""
    data = config.data.model_copy(update={"observation_seed": label_draw})
    return config.model_copy(update={"seed": seed, "data": data})


@dataclass(frozen=True)
class Grid:
    """A checked grid.

    Attributes:
        name: the file's stem; folder and experiment bear it.
        config: the file's content, overrides applied.
        factors: by name.
        base: the configuration that levels are laid over.
        cells: in the order of the design.
        baseline: the cell that the others are compared with.
    """

    name: str
    config: GridConfig
    factors: Mapping[str, Factor]
    base: Base
    cells: tuple[Cell, ...]
    baseline: Cell

    def repeats(self, cell: Cell) -> list[tuple[int, int]]:
        """Return ``(seed, label draw)`` of the cell's runs, draw by draw; one draw where labels are not drawn."""
        draws = self.config.label_draws if cell.draws_labels else self.config.label_draws[:1]
        if self.config.pairing == "own" and cell.draws_labels:
            return list(zip(self.config.seeds, draws, strict=True))
        return [(seed, draw) for draw in draws for seed in self.config.seeds]


def load_grid(
    file: Path, assignments: Sequence[str] = (), *, output: Path, options: Mapping[str, Any] | None = None
) -> Grid:
    """Read and check a grid file.

    Args:
        file: the YAML file.
        assignments: ``path=value``, for a path of the base configuration or a key of the grid.
        output: the folder of all studies, where ``base: best:STUDY`` finds its configuration.
        options: ``{dotted grid key: value}`` from the command line.

    Raises:
        ConfigError: every fault with its path, rule, value and nearest valid name.
    """
    config = read_grid_file(file, assignments, options)
    try:
        return make_grid(name_of(file), config, output)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def make_grid(name: str, config: GridConfig, output: Path) -> Grid:
    """Return the grid of a file's content; raise ConfigError."""
    if not is_plain_name(name) or name in STORE_NAMES:
        raise ConfigError(
            f"a grid's name consists of up to {MAX_NAME} letters, digits, '_', '-' and '.', and is none of "
            f"{', '.join(STORE_NAMES)}; got '{name}'"
        )
    base, factors = read_base(config.base, output), config.read_factors()
    reference = _reference(config, factors)
    chosen = [levels for levels in _design(config, factors, reference) if not _excluded(config, levels)]
    labels = _labels(config, factors, chosen, reference)
    cells = [_cell(config, base, label, levels) for label, levels in zip(labels, chosen, strict=True)]
    _check_different(cells)
    baseline = next((cell for cell in cells if _same(cell.levels, reference)), None)
    if baseline is None:
        written = ", ".join(f"{name}={level.name}" for name, level in reference.items())
        raise ConfigError(f"baseline: the cell {written} is excluded; name another one in baseline")
    return Grid(name, config, factors, base, tuple(cells), baseline)


# -- designs ----------------------------------------------------------------------------------------------

Levels = dict[str, Level]


def _reference(config: GridConfig, factors: Mapping[str, Factor]) -> Levels:
    """The baseline's levels: those of ``baseline``, the first ones of other factors that exist beside them."""
    levels: Levels = {}
    for name, factor in factors.items():
        wanted = config.baseline.get(name)
        if factor.exists(levels):
            levels[name] = factor.level(wanted, f"baseline.{name}") if name in config.baseline else factor.levels[0]
        elif name in config.baseline:
            needs = ", ".join(f"{other} = {' | '.join(allowed)}" for other, allowed in factor.when.items())
            raise ConfigError(f"baseline.{name}: the factor exists only when {needs}")
    return levels


def _design(config: GridConfig, factors: Mapping[str, Factor], reference: Levels) -> Iterator[Levels]:
    if config.design == "full":
        yield from _full(factors)
        return
    # One at a time and leave one out differ in what the baseline is, and so in how cells are called.
    chosen = [reference]
    for name, factor in factors.items():
        for level in factor.levels:
            changed = _changed(factors, reference, name, level)
            if not any(_same(changed, levels) for levels in chosen):  # a condition may bring another factor with it
                chosen.append(changed)
    yield from chosen


def _full(factors: Mapping[str, Factor]) -> Iterator[Levels]:
    """Every combination, the last factor fastest."""
    names = list(factors)

    def extend(place: int, levels: Levels) -> Iterator[Levels]:
        if place == len(names):
            yield dict(levels)
            return
        factor = factors[names[place]]
        if not factor.exists(levels):
            yield from extend(place + 1, levels)
            return
        for level in factor.levels:
            yield from extend(place + 1, {**levels, factor.name: level})

    yield from extend(0, {})


def _changed(factors: Mapping[str, Factor], reference: Levels, name: str, level: Level) -> Levels:
    """The baseline with one factor at another level; what that level's condition needs changes with it."""
    forced: dict[str, Level] = {name: level}
    for other in reversed(list(factors)):
        if other in forced:
            for needed, allowed in factors[other].when.items():
                kept = reference.get(needed)
                stays = kept is not None and kept.name in allowed
                forced.setdefault(needed, kept if stays and kept else factors[needed].level(allowed[0], needed))
    levels: Levels = {}
    for other, factor in factors.items():
        if factor.exists(levels):
            levels[other] = forced.get(other) or reference.get(other) or factor.levels[0]
    return levels


def _excluded(config: GridConfig, levels: Levels) -> bool:
    return any(
        all(name in levels and level_name(value) == levels[name].name for name, value in combination.items())
        for combination in config.exclude
    )


# -- cells ------------------------------------------------------------------------------------------------


def _labels(
    config: GridConfig, factors: Mapping[str, Factor], chosen: Sequence[Levels], reference: Levels
) -> list[str]:
    """Say of each cell what no other says; with leave one out, what is different from the full model."""
    varied = [name for name in factors if len({levels[name].name if name in levels else None for levels in chosen}) > 1]
    names = [level.name for name in varied for level in factors[name].levels]

    def part(name: str, level: Level) -> str:
        plain = factors[name].named or name.endswith(".name") or isinstance(level.value, Mapping)
        return level.name if plain and names.count(level.name) == 1 else f"{short_name(factors[name])}={level.name}"

    def label(levels: Levels) -> str:
        if config.design == "full":
            return ", ".join(part(name, levels[name]) for name in varied if name in levels)
        other = [name for name in factors if levels.get(name) is not reference.get(name) and name in levels]
        if not other:
            return "full" if config.design == "leave_one_out" else "baseline"
        if config.design == "leave_one_out":
            return ", ".join(_without(factors[name], levels[name], part(name, levels[name])) for name in other)
        return ", ".join(part(name, levels[name]) for name in other)

    return [label(levels) or "all" for levels in chosen]


OFF = ("off", "without", "no", "false", "none")


def _without(factor: Factor, level: Level, otherwise: str) -> str:
    return f"without {short_name(factor)}" if level.name in OFF else otherwise


def _cell(config: GridConfig, base: Base, label: str, levels: Levels) -> Cell:
    overrides = {path: value for level in levels.values() for path, value in level.overrides.items()}
    seeds = {"seed": config.seeds[0], "data.observation_seed": config.label_draws[0]}
    try:
        return Cell(label, levels, base.configuration({**overrides, **seeds}))
    except ConfigError as error:
        combination = ", ".join(f"{name}: {level.name}" for name, level in levels.items())
        raise ConfigError(f"cell '{label}': {error}; `exclude: [{{{combination}}}]` leaves it out") from None


def _check_different(cells: Sequence[Cell]) -> None:
    """Two cells that are the same configuration would be compared with each other as if they were not."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        twin = seen.setdefault(cell.config.fingerprint, cell)
        if twin is not cell:
            raise ConfigError(
                f"factors: the cells '{twin.label}' and '{cell.label}' are the same configuration; give a factor "
                "that has no effect there a condition (`when`), or exclude one of them"
            )
    labels = [cell.label for cell in cells]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"factors: two cells are called '{label}'; give their levels different names")


def _same(levels: Mapping[str, Level], others: Mapping[str, Level]) -> bool:
    return {name: level.name for name, level in levels.items()} == {name: level.name for name, level in others.items()}
