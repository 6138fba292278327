"""What a grid file says: its keys, where it is found, and every check that needs no training code.

Nothing here imports torch, so a misspelt key is answered at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ablations.factors import Factor, read_factors
from plml.config import TrainConfig
from plml.errors import ConfigError, nearest
from plml.schema import Strict, assign, check_keys, parse_assignment, read_yaml_file, validate
from plml.user_path import user_path
from tune.named_files import find_named, name_of_file, shipped_names
from tune.study_file import PrunerConfig, ResourcesConfig, SamplerConfig, parse_duration

GRIDS = Path(__file__).parent / "grids"
STORE_NAMES = ("runs", "studies")  # folders beside those of grids
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Design = Literal["full", "one_at_a_time", "leave_one_out"]
PairedTest = Literal["crossed_t", "pooled_t", "paired_t", "wilcoxon", "permutation"]


class TuningConfig(Strict):
    """A search of the same size in every cell, whose best configuration is what the cell is judged by."""

    n_trials: Count = Field(8, description="trials of a cell")
    search_space: Annotated[dict[str, Any], Field(min_length=1)]
    sampler: SamplerConfig = Field(default_factory=lambda: SamplerConfig(name="random"))
    pruner: PrunerConfig = Field(default_factory=PrunerConfig)
    points: list[dict[str, Any]] = Field(default_factory=list, description="points to try first, in every cell")
    seed: Seed | None = Field(None, description="training seed of the search; default: the first of seeds")
    label_draw: Seed | None = Field(None, description="observation seed of the search; default: the first of them")


class GridTrackConfig(Strict):
    """What goes to MLflow beside parameters, metrics and tags."""

    checkpoints: bool = Field(False, description="upload the best checkpoint of every run")


class GridConfig(Strict):
    """The keys of a grid file."""

    description: str = Field("", description="what is compared; the caption of its table begins with it")
    needs: str = Field("", description="what the user has to give, shown by --list")
    base: dict[str, Any] | str = Field(default_factory=dict)
    factors: Annotated[dict[str, Any], Field(min_length=1)]
    design: Design = "full"
    baseline: dict[str, Any] = Field(
        default_factory=dict, description="levels of the cell that others are compared with; default: the first ones"
    )
    exclude: list[dict[str, Any]] = Field(default_factory=list, description="combinations of levels to leave out")
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field([0, 1, 2], description="training seeds")
    label_draws: Annotated[list[Seed], Field(min_length=1)] = Field([1200], description="observation seeds")
    pairing: Literal["crossed", "own"] = Field(
        "crossed", description="every seed with every label draw; own: the first with the first, and so on"
    )
    tune_per_cell: TuningConfig | None = None
    metric: str = Field("test/mAP", description="the figure that cells are compared by")
    test: PairedTest = Field("crossed_t", description="the test of paired differences")
    blocks: str | None = Field(None, description="factor whose levels are data sets or settings, to rank across")
    columns: str | None = Field(None, description="factor whose levels are the columns of the paper's table")
    criteria: bool = Field(False, description="compare selection criteria on the runs, too")
    time_budget: float | None = Field(None, description="seconds, or text such as 90s, 30m, 8h; each launch anew")
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    track: GridTrackConfig = Field(default_factory=GridTrackConfig)

    @field_validator("time_budget", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _figure(cls, value: str) -> str:
        if not value.startswith(("test/", "val/")):
            raise ValueError(f"must be a figure of the finished run such as test/mAP or test/CF1, got '{value}'")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> "GridConfig":
        for name, numbers in (("seeds", self.seeds), ("label_draws", self.label_draws)):
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"{name} must differ from one another, got {numbers}")
        if self.pairing == "own" and len(self.seeds) != len(self.label_draws):
            raise ValueError(
                f"pairing: own needs a label draw for every seed, got {len(self.seeds)} seeds and "
                f"{len(self.label_draws)} label_draws"
            )
        return self

    def read_factors(self) -> dict[str, Factor]:
        """Return the factors by name; raise ConfigError for what they are not."""
        return read_factors(self.factors)


def grid_names() -> list[str]:
    """Return the names of the grids that come with the project."""
    return shipped_names(GRIDS)


def find_grid(name: str, home: Path | None = None) -> Path:
    """Return the file of a grid, also of one already begun in ``home``; see :func:`tune.named_files.find_named`."""
    return find_named("grid", name, GRIDS, home)


def name_of(file: Path) -> str:
    """Return the name of the grid in ``file``."""
    return name_of_file("grid", file)


def read_grid_file(file: Path, assignments: Sequence[str] = (), options: Mapping[str, Any] | None = None) -> GridConfig:
    """Read a grid file, lay assignments and options over it, and check its keys.

    Args:
        file: the YAML file.
        assignments: ``path=value``, for a path of the base configuration or a key of the grid.
        options: ``{dotted grid key: value}`` from the command line.

    Raises:
        ConfigError: every fault with its path, rule, value and nearest valid name.
    """
    source = str(file)
    tree = read_yaml_file(file)
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{source}: must be a mapping of grid keys, got {tree!r}")
    over: dict[str, Any] = {}
    for path, value in map(parse_assignment, assignments):
        if path.partition(".")[0] in GridConfig.model_fields:
            tree = assign(tree, path, value)
        else:
            over[path] = value
    for path, value in (options or {}).items():
        if path == "tune_per_cell.n_trials" and not tree.get("tune_per_cell"):
            raise ConfigError(f"--trials {value}: {source} has no tune_per_cell, so its cells search nothing")
        tree = assign(tree, path, value)
    config = validate(GridConfig, tree, source=source)
    try:
        config = config.model_copy(update={"base": _with_assignments(config.base, over, file)})
        _check_keys(config)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return config


OVER = "over"  # beside a base that is named rather than written out: what --set lays over it


def _with_assignments(base: Any, over: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the base as a mapping: written out with ``over`` applied, or ``{from: NAME, over: {path: value}}``."""
    if isinstance(base, Mapping) and "from" in base:  # of a grid that was begun
        return {**base, OVER: {**base.get(OVER, {}), **over}}
    if isinstance(base, str):
        if not base.startswith(("recipe:", "best:")):
            found = (file.parent / user_path(base)).absolute()
            if not found.is_file():
                beside = [each.name for each in found.parent.glob("*.y*ml")] if found.parent.is_dir() else []
                raise ConfigError(f"base: {found} is not a file{nearest(found.name, beside)}")
            base = str(found)
        return {"from": base, OVER: dict(over)}
    for path, value in over.items():
        base = assign(base, path, value)
    return dict(base)


def _check_keys(config: GridConfig) -> None:
    """Find misspelt paths without importing training code."""
    assert isinstance(config.base, dict)
    base = config.base
    branches = [assign({}, path, None) for path in base.get(OVER, {})] if "from" in base else [base]
    factors = config.read_factors()
    for factor in factors.values():
        branches += [assign({}, path, None) for level in factor.levels for path in level.overrides]
    if config.tune_per_cell:
        branches += [assign({}, path, None) for path in config.tune_per_cell.search_space]
    for branch in branches:
        check_keys(TrainConfig, branch)
    for key, name in (("blocks", config.blocks), ("columns", config.columns)):
        if name is not None and name not in factors:
            raise ConfigError(f"{key} must be one of the factors, got '{name}'{nearest(name, factors)}")
    for place, chosen in [("baseline", config.baseline), *((f"exclude[{i}]", e) for i, e in enumerate(config.exclude))]:
        for name, level in chosen.items():
            if name not in factors:
                raise ConfigError(f"{place}: there is no factor '{name}'{nearest(name, factors)}")
            factors[name].level(level, f"{place}.{name}")
