"""From the ``search_space`` of a study file to dimensions: defaults filled in, conditions read, order found."""

from collections.abc import Mapping, Sequence
from typing import Any

from plml.config import TrainConfig
from plml.errors import ConfigError, nearest
from plml.methods import find_method
from tune.ranges import Choice, Entry, read_entries, read_range
from tune.space import Dimension, SearchSpace


def build_space(entries: Mapping[str, Any], base_tree: Mapping[str, Any], base: TrainConfig) -> SearchSpace:
    """Read ``{path: range | default | list of ranges}``; raise ConfigError naming path, rule and nearest name."""
    found = read_entries(entries)
    explicit = {path for path, _, _ in found}
    methods = [choice for path, span, _ in found if path == "method.name" for choice in span.probes()]
    methods = list(dict.fromkeys(methods)) or [base.method["name"]]
    for path in [path for path, entry in entries.items() if entry == "default"]:
        found += [item for item in _defaults(path, methods) if item[0] not in explicit]
    dimensions = _named(found)
    _check_conditions(dimensions, base)
    return SearchSpace(tuple(_ordered(dimensions)), base_tree, base)


def _defaults(path: str, methods: Sequence[str]) -> list[Entry]:
    """The ranges that the study's methods declare: all of them for ``method``, one for ``method.NAME``."""
    head, _, wanted = path.partition(".")
    if head != "method" or "." in wanted:
        raise ConfigError(f"search_space.{path}: only method hyperparameters declare a range; write the range out")
    found = []
    for name in methods:
        for key, declared in find_method(name).search_space.items():
            if wanted in ("", key):
                span = read_range(declared, f"search_space.method.{key}")
                found.append((f"method.{key}", span, {"method.name": (name,)} if len(methods) > 1 else {}))
    if wanted and not found:
        known = {key for name in methods for key in find_method(name).search_space}
        raise ConfigError(
            f"search_space.{path}: no method of this study ({', '.join(methods)}) declares a range for "
            f"'{wanted}'{nearest(wanted, known)}"
        )
    return found


def _named(found: Sequence[Entry]) -> list[Dimension]:
    """Give each range an Optuna name of its own: the path, or ``path[condition]`` where a path has several."""
    paths = [path for path, _, _ in found]
    dimensions: list[Dimension] = []
    for path, span, when in found:
        label = ",".join(str(value) for allowed in when.values() for value in allowed)
        name = f"{path}[{label}]" if paths.count(path) > 1 else path
        if name in [dimension.name for dimension in dimensions]:
            raise ConfigError(f"search_space.{path}: two ranges hold under the same condition ({label or 'none'})")
        dimensions.append(Dimension(path, name, span, when))
    return dimensions


def _check_conditions(dimensions: Sequence[Dimension], base: TrainConfig) -> None:
    """Conditions name known paths and possible values; two ranges of one path never hold together."""
    fixed = base.flat()
    paths = {d.path for d in dimensions}
    for dimension in dimensions:
        for path, allowed in dimension.when.items():
            where = f"search_space.{dimension.path}.when"
            if path not in paths and path not in fixed:
                raise ConfigError(f"{where}: unknown path '{path}'{nearest(path, paths | set(fixed))}")
            spans = [d.range for d in dimensions if d.path == path]
            if any(not isinstance(span, Choice) for span in spans):
                raise ConfigError(f"{where}: '{path}' is searched over a range; a condition needs a list of choices")
            possible = [value for span in spans for value in span.probes()] or [fixed[path]]
            for value in allowed:
                if value not in possible:
                    hint = nearest(str(value), map(str, possible))
                    raise ConfigError(f"{where}.{path}: {value!r} is not a value that '{path}' takes{hint}")
    for place, one in enumerate(dimensions):
        for other in dimensions[:place]:
            apart = any(
                not set(map(repr, one.when[path])) & set(map(repr, other.when[path]))
                for path in one.when.keys() & other.when.keys()
            )
            if one.path == other.path and not apart:
                raise ConfigError(
                    f"search_space.{one.path}: two of its ranges may hold at once; give each a `when` that "
                    "excludes the other, such as {method.name: role}"
                )


def _ordered(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Order so that a condition's paths come before it; the file's order otherwise."""
    ordered: list[Dimension] = []
    waiting = list(dimensions)
    while waiting:
        open_paths = {d.path for d in waiting}
        ready = next((d for d in waiting if not open_paths & set(d.when)), None)
        if ready is None:
            raise ConfigError(f"search_space: the conditions of {', '.join(sorted(open_paths))} go round in a circle")
        ordered.append(ready)
        waiting.remove(ready)
    return ordered
