"""The configuration that a grid varies: written out, a file, a published recipe, or the best one of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.grid_file import OVER
from plml.config import NAMED, TrainConfig, make_config
from plml.errors import ConfigError, nearest
from plml.recipe import PREFIX, find_variant
from plml.schema import flatten, read_yaml_file
from plml.user_path import user_path
from tune.study import absolute_paths

BEST = "best:"


@dataclass(frozen=True)
class Base:
    """A configuration that is not resolved yet, so that levels may change what defaults depend on.

    Attributes:
        tree: nested data.
        over: ``{dotted path: value}`` laid over it, below the levels.
        source: where it comes from, for messages.
    """

    tree: Mapping[str, Any]
    over: Mapping[str, Any]
    source: str

    def configuration(self, overrides: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration with ``overrides``; raise ConfigError.

        A method, head or setting that is named as it is in the base keeps the options it has there.
        """
        values = {**self.over, **overrides}
        known = flatten(self.tree)
        for branch in NAMED:
            for path in (branch, f"{branch}.name"):
                if values.get(path) is not None and values[path] in (known.get(branch), known.get(f"{branch}.name")):
                    del values[path]
        return make_config(absolute_paths(make_config(self.tree, values, self.source).tree()))


def read_base(base: Mapping[str, Any] | str, output: Path) -> Base:
    """Return the base of a grid file.

    Args:
        base: nested data, or ``{from: FILE | recipe:NAME[/VARIANT] | best:STUDY, over: {path: value}}``.
        output: the folder of all studies.

    Raises:
        ConfigError: there is no such file, recipe, variant or finished study.
    """
    assert isinstance(base, Mapping)  # grid_file has made it one
    if "from" not in base:
        return Base(base, {}, "")
    name, over = str(base["from"]), base.get(OVER, {})
    if name.startswith(PREFIX):
        _, recipe, variant = find_variant(name)
        return Base(recipe.tree(variant), over, name)
    file = _best_of(name.removeprefix(BEST), output) if name.startswith(BEST) else Path(name)
    tree = read_yaml_file(file)
    if not isinstance(tree, Mapping):
        raise ConfigError(f"base: {file} must hold a configuration, got {tree!r}")
    return Base(tree, over, name)


def _best_of(study: str, output: Path) -> Path:
    """The best configuration of a study in the output folder, or of one given by its folder."""
    folder = user_path(study).absolute() if "/" in study else output / study
    file = folder / "best.yaml"
    if not file.is_file():
        known = [path.parent.name for path in output.glob("*/best.yaml")]
        raise ConfigError(
            f"base: {BEST}{study}: {file} is not a file; the study has no finished trial, or there is none of that "
            f"name{nearest(study, known)}"
        )
    return file
