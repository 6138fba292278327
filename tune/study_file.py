"""What a study file says: its keys, where it is found, and every check that needs no training code.

Nothing here imports torch, so a misspelt key is answered at once.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from plml.config import TrainConfig
from plml.errors import ConfigError, nearest
from plml.model_name import check_model_name
from plml.schema import Strict, assign, check_keys, parse_assignment, read_yaml_file, validate
from tune.named_files import find_named, name_of_file, shipped_names
from tune.ranges import read_entries

STUDIES = Path(__file__).parent / "studies"
Count = Annotated[int, Field(ge=1)]


class ObjectiveConfig(Strict):
    """What a trial is judged by: the best value that ``metric`` has reached so far."""

    metric: str = "selection/best"
    mode: Literal["max", "min"] = "max"

    @field_validator("metric")
    @classmethod
    def _honest(cls, value: str) -> str:
        if not re.match(r"^(selection|val|val_observed)/", value):
            raise ValueError(f"must be a validation figure such as selection/best or val/mAP, got '{value}'")
        return value


class _ByName(Strict):
    """Options with a name; the name alone stands for its defaults, as ``method: role`` does."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class SamplerConfig(_ByName):
    """How the next point is chosen."""

    name: Literal["tpe", "random", "grid", "cmaes", "gp"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 0
    n_startup_trials: Count = Field(10, description="random trials before tpe, cmaes and gp begin to model")


class PrunerConfig(_ByName):
    """When a trial that lags behind is stopped; counted in completed epochs."""

    name: Literal["none", "successive_halving", "hyperband", "median", "patient"] = "none"
    min_epochs: Count = Field(1, description="no trial is stopped before it completed so many epochs")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(3, description="successive_halving, hyperband")
    n_startup_trials: Annotated[int, Field(ge=0)] = Field(5, description="median: trials that always run to the end")
    patience: Count | None = Field(None, description="epochs without improvement that are tolerated before stopping")


class ResourcesConfig(Strict):
    """What one trial occupies, and how many run at once."""

    cpu: Count = 1
    gpu: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto", description="auto: one where there is one; 2 and more train a trial together"
    )
    max_concurrent: Literal["auto"] | Count = "auto"
    population: Literal["auto"] | Count = Field(
        "auto", description="trials of mode linear that a worker trains at once; 1: one after another"
    )

    hang_timeout: Annotated[float, Field(gt=0)] | None = Field(
        900.0, description="seconds, or text such as 15m: a worker that shows no sign of life for so long is killed"
    )

    @field_validator("hang_timeout", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("gpu")
    @classmethod
    def _whole_devices(cls, value: Any) -> Any:
        if value != "auto" and value > 1 and value != int(value):
            raise ValueError(f"a trial trains on a fraction of a GPU, or on whole ones, got {value:g}")
        return value


class TrackConfig(Strict):
    """What goes to MLflow beside parameters, metrics and tags."""

    top_k: Annotated[int, Field(ge=0)] = Field(3, description="best checkpoints that are uploaded")
    system_metrics: bool = Field(False, description="processor, memory and GPU load of each trial")
    checkpoints: Literal["best", "every_epoch"] = Field(
        "best", description="every_epoch: each epoch of each trial as a logged model with its figures"
    )
    register_as: str | None = Field(
        None, alias="register", description="the best model becomes a version of the registered model of this name"
    )
    alias: str | None = Field(None, description="moves to that version, if it was chosen by a better figure")

    @field_validator("register_as")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        return value if value is None else check_model_name(value, "track.register")

    @model_validator(mode="after")
    def _alias_of_something(self) -> "TrackConfig":
        if self.alias is not None and self.register_as is None:
            raise ValueError(f"alias goes with register, the name of the model, got alias '{self.alias}' alone")
        return self


class StudyConfig(Strict):
    """The keys of a study file."""

    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    search_space: Annotated[dict[str, Any], Field(min_length=1)]
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    pruner: PrunerConfig = Field(default_factory=PrunerConfig)
    n_trials: Count | None = Field(None, description="unique configurations; default: 20, or the whole grid")
    max_attempts: Count = Field(3, description="attempts at a trial whose process dies or raises")
    failure_budget: Count = Field(10, description="failures in a row that end the study")
    time_budget: float | None = Field(None, description="seconds, or text such as 90s, 30m, 8h; each launch anew")
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        None, description="each trial trains once with each; its objective is their mean"
    )
    points: list[dict[str, Any]] = Field(default_factory=list, description="points to try first")
    warm_start: str | None = Field(
        None, description="another study, by name or folder, whose finished trials the sampler knows from the start"
    )
    track: TrackConfig = Field(default_factory=TrackConfig)

    @field_validator("time_budget", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _distinct_seeds(self) -> "StudyConfig":
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ from one another, got {self.seeds}")
        return self


def parse_duration(text: str) -> float:
    """Return the seconds that ``90``, ``90s``, ``30m``, ``8h`` or ``1h30m`` stand for; raise ValueError."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or match is None:
        raise ValueError(f"a duration is written 90s, 30m, 8h or 1h30m, got '{text}'")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def study_names() -> list[str]:
    """Return the names of the studies that come with the project."""
    return shipped_names(STUDIES)


def find_study(name: str, output_dir: Path | None = None) -> Path:
    """Return the file of a study, also of one already begun in ``output_dir``; see :func:`find_named`."""
    return find_named("study", name, STUDIES, output_dir)


def name_of(file: Path) -> str:
    """Return the name of the study in ``file``."""
    return name_of_file("study", file)


def read_study_file(
    file: Path, assignments: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> StudyConfig:
    """Read a study file, lay assignments and options over it, and check its keys.

    Args:
        file: the YAML file.
        assignments: ``path=value``, for a path of the base configuration or a key of the study.
        options: ``{dotted study key: value}`` from the command line.

    Raises:
        ConfigError: every fault with its path, rule, value and nearest valid name.
    """
    source = str(file)
    tree = read_yaml_file(file)
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{source}: must be a mapping of study keys, got {tree!r}")
    if "scheduler" in tree:
        raise ConfigError(f"{source}: unknown key 'scheduler'; did you mean 'pruner'?")
    tree = {**tree, "base": _read_base(tree.get("base", {}), file)}
    for path, value in map(parse_assignment, assignments):
        own = path.partition(".")[0] in StudyConfig.model_fields
        tree = assign(tree, path if own else f"base.{path}", value)
        if not own and path in tree.get("search_space", {}):
            raise ConfigError(f"--set {path}: this study searches {path}; to fix it, take it out of search_space")
    for path, value in (options or {}).items():
        tree = assign(tree, path, value)
    config = validate(StudyConfig, tree, source=source)
    try:
        for branch in (config.base, *(assign({}, path, None) for path in config.search_space)):
            check_keys(TrainConfig, branch)
        read_entries(config.search_space)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return config


def _read_base(base: Any, file: Path) -> Any:
    """Return the base configuration as nested data; a text names a YAML file beside the study file."""
    if not isinstance(base, str):
        return base
    path = (file.parent / base).absolute()
    if not path.is_file():
        raise ConfigError(
            f"{file}: base: {path} is not a file{nearest(path.name, [p.name for p in path.parent.glob('*.y*ml')])}"
        )
    return read_yaml_file(path)
