"""Factors of a grid: what is varied, in which levels, and under which condition.

A factor is a dotted path with values, or named variants that set several paths:

    method.name: [an, role]
    head:
      plain: {model.head: linear}
      boostlu: {model.head.name: boostlu, model.head.alpha: 5.0}
    model.head.alpha: {values: [2.0, 5.0], when: {head: boostlu}}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plml.config import NAMED
from plml.errors import ConfigError, nearest

KEYS = ("values", "variants", "when")


@dataclass(frozen=True)
class Level:
    """One level of a factor.

    Attributes:
        name: as shown and as written in ``when``, ``baseline`` and ``exclude``.
        value: what the file says, for a factor that is a path.
        overrides: ``{dotted path: value}``.
    """

    name: str
    value: Any
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """A factor.

    Attributes:
        name: its name; the path for a factor that is one.
        levels: in the file's order.
        when: ``{other factor: names of its levels}``; the factor exists only where all hold.
        named: whether levels are named variants.
    """

    name: str
    levels: tuple[Level, ...]
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    named: bool = False

    def level(self, wanted: Any, where: str) -> Level:
        """Return the level of that name or value; raise ConfigError naming ``where``."""
        for level in self.levels:
            if wanted == level.name or (not self.named and wanted == level.value):
                return level
        names = [level.name for level in self.levels]
        raise ConfigError(
            f"{where} must be a level of factor '{self.name}' ({', '.join(names)}), got {wanted!r}"
            f"{nearest(str(wanted), names)}"
        )

    def exists(self, levels: Mapping[str, Level]) -> bool:
        """Whether the factor exists beside these levels of others."""
        return all(name in levels and levels[name].name in allowed for name, allowed in self.when.items())


def read_factors(entries: Mapping[str, Any]) -> dict[str, Factor]:
    """Return the factors of a grid file in an order in which every condition is decided before it is asked.

    Raises:
        ConfigError: a factor has no levels, two levels of one name, or a condition on what is no factor.
    """
    factors = {name: _read(name, entry) for name, entry in entries.items()}
    for factor in factors.values():
        for other, allowed in factor.when.items():
            if other == factor.name or other not in factors:
                others = [name for name in factors if name != factor.name]
                raise ConfigError(f"factors.{factor.name}.when: there is no factor '{other}'{nearest(other, others)}")
            for name in allowed:
                factors[other].level(name, f"factors.{factor.name}.when.{other}")
    return _in_order(factors)


def _read(name: str, entry: Any) -> Factor:
    where = f"factors.{name}"
    when: Mapping[str, Any] = {}
    variants: Any = None
    values: Any = None
    if isinstance(entry, Mapping) and set(entry) & {"values", "variants"}:
        for key in entry:
            if key not in KEYS:
                raise ConfigError(f"{where}: unknown key '{key}'{nearest(key, KEYS)}")
        if "values" in entry and "variants" in entry:
            raise ConfigError(f"{where} must have values or variants, got both")
        when, values, variants = entry.get("when") or {}, entry.get("values"), entry.get("variants")
    elif isinstance(entry, Mapping):
        variants = entry
    else:
        values = entry
    levels = _values(name, values, where) if variants is None else _variants(variants, where)
    names = [level.name for level in levels]
    for level in names:
        if names.count(level) > 1:
            raise ConfigError(f"{where}: level '{level}' stands twice")
    if not isinstance(when, Mapping):
        raise ConfigError(f"{where}.when must be a mapping of factors to levels, got {when!r}")
    conditions = {
        other: tuple(map(level_name, allowed if isinstance(allowed, list) else [allowed]))
        for other, allowed in when.items()
    }
    return Factor(name, tuple(levels), conditions, named=variants is not None)


def _values(path: str, values: Any, where: str) -> list[Level]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ConfigError(f"{where} must be a list of values, or a mapping of variants, got {values!r}")
    return [Level(level_name(value), value, {path: value}) for value in values]


def _variants(variants: Any, where: str) -> list[Level]:
    if not isinstance(variants, Mapping) or not variants:
        raise ConfigError(f"{where}.variants must be a mapping of names to {{path: value}}, got {variants!r}")
    levels = []
    for name, overrides in variants.items():
        if not isinstance(overrides, Mapping | None):
            raise ConfigError(f"{where}.{name} must be a mapping of paths to values, got {overrides!r}")
        levels.append(Level(name, name, dict(overrides or {})))
    return levels


def level_name(value: Any) -> str:
    """Return a value as people write it in a label: ``role``, ``0.01``, ``true``; a branch by its name."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        rest = {key: option for key, option in value.items() if key != "name"}
        return str(value["name"]) + (f" {json.dumps(rest)}" if rest else "")
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else json.dumps(value)


def short_name(factor: Factor) -> str:
    """Return how a factor is called in labels: the last part of its path, or its own name."""
    name = factor.name.removesuffix(".name")
    return name if factor.named or (name in NAMED and name == factor.name) else name.rpartition(".")[2]


def _in_order(factors: Mapping[str, Factor]) -> dict[str, Factor]:
    ordered: dict[str, Factor] = {}
    waiting = dict(factors)
    while waiting:
        ready = next((name for name, factor in waiting.items() if all(other in ordered for other in factor.when)), None)
        if ready is None:
            raise ConfigError(f"factors: {', '.join(waiting)} exist only under conditions on one another")
        ordered[ready] = waiting.pop(ready)
    return ordered
