"""One training run, described completely: the dotted paths here are the vocabulary of the whole platform.

Study files, grid files, the command line, MLflow parameters and checkpoints all speak in these paths
(``optim.lr``, ``method.lr_mult``, ``data.observation.rate``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from plml.compat import Compat
from plml.errors import ConfigError, nearest
from plml.schema import Strict, assign, flatten, options_model, parse_assignment, read_yaml_file, validate
from plml.selection_config import SelectionConfig

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["paper", "fast"]
Compile = Literal["never", "auto", "always"]


# Branches that are a name with its options; a bare name stands for the whole branch.
NAMED = ("method", "auxiliary", "data.observation", "model.head")


def _chosen(
    value: Any, path: str, registry: Mapping[str, Callable[..., Any]], options_path: str = ""
) -> dict[str, Any]:
    """Check ``{name, **options}`` (or a bare name) against the signature registered under that name."""
    chosen = {"name": value} if isinstance(value, str) else value
    if not isinstance(chosen, Mapping) or not isinstance(chosen.get("name"), str):
        raise ConfigError(f"{path} must be a name or a mapping with a name, got {value!r}")
    name = chosen["name"]
    if name not in registry:
        raise ConfigError(f"{path}.name must be a known name, got '{name}'{nearest(name, registry)}")
    options = {key: option for key, option in chosen.items() if key != "name"}
    model = validate(options_model(registry[name], f"{name}_options"), options, options_path or path)
    return {"name": name, **model.model_dump()}


def _method(value: Any) -> dict[str, Any]:
    # Here and not above: methods import torch, and a misspelt key should be answered before that.
    from plml.methods import METHODS

    return _chosen(value, "method", METHODS)


def _head(value: Any) -> dict[str, Any]:
    from plml.models.heads import HEADS

    return _chosen(value, "model.head", HEADS)


class DataConfig(Strict):
    """Which examples, which labels of them are seen, and how the training part is split."""

    name: str = "digits"
    root: str | None = Field(None, description="folder of the data set")
    options: dict[str, Any] = Field(default_factory=dict, description="the data set's own options")
    image_size: Count | None = Field(None, description="side in pixels; default: the data set's own")
    flip: bool | None = Field(None, description="random horizontal flip in training; default: the data set's own")
    crop_scale: Fraction | None = Field(None, description="training cuts boxes of this area share or more, up to 1")
    randaugment: bool = Field(False, description="RandAugment in training, as the scripts of ASL, CSL, Hill and SPLC")
    cutout: Fraction | None = Field(
        None, description="side of the square that training paints over, share of the image"
    )
    observation: dict[str, Any] = Field(default_factory=lambda: {"name": "fully_observed"})
    observation_seed: Annotated[int, Field(ge=0)] = 1200
    split_seed: Annotated[int, Field(ge=0)] = 1200
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    subsample_train: Fraction = 1.0
    subsample_val: Fraction = 1.0
    subsample_seed: Annotated[int, Field(ge=0)] = 999
    expected_positives: Positive | None = Field(None, description="k; default: what the data set declares")

    @field_validator("observation", mode="before")
    @classmethod
    def _observation(cls, value: Any) -> dict[str, Any]:
        from plml.observation import OBSERVATIONS

        return _chosen(value, "data.observation", OBSERVATIONS)

    @model_validator(mode="after")
    def _options(self) -> "DataConfig":
        from plml.data.source import DATASETS  # data sets read configurations themselves

        chosen = _chosen({**self.options, "name": self.name}, "data", DATASETS, "data.options")
        chosen.pop("name")
        object.__setattr__(self, "options", chosen)
        return self


class ModelConfig(Strict):
    """The network: a backbone, where its weights come from, and the head."""

    backbone: str = "small_cnn"
    weights: str | None = Field(
        None, description="a .safetensors/.pth file, or a torchvision name such as IMAGENET1K_V1"
    )
    normalization: Literal["auto", "imagenet", "none"] = Field(
        "auto", description="none: inputs in [0, 1]; auto: imagenet for backbones that are trained on photos"
    )
    head: dict[str, Any] = Field(default_factory=lambda: _head("linear"))

    @field_validator("head", mode="before")
    @classmethod
    def _head(cls, value: Any) -> dict[str, Any]:
        return _head(value)

    @field_validator("backbone")
    @classmethod
    def _backbone(cls, value: str) -> str:
        from plml.models.backbones import BACKBONES

        if value not in BACKBONES:
            raise ConfigError(f"model.backbone must be a known backbone, got '{value}'{nearest(value, BACKBONES)}")
        return value


class OptimConfig(Strict):
    """Optimiser, schedule and batch."""

    name: Literal["adam", "sgd", "rmsprop"] = "adam"
    lr: Positive = 1e-3
    batch_size: Count = 16
    drop_last: bool = Field(False, description="leave out the last incomplete training batch")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="sgd and rmsprop")
    rmsprop_decay: Annotated[float, Field(gt=0, lt=1)] = 0.9
    rmsprop_eps: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_biases: bool = Field(True, description="false: no weight decay on biases and normalisation")
    head_lr_mult: Positive = Field(1.0, description="learning rate of the head over that of the backbone")
    schedule: Literal["constant", "cosine", "step", "onecycle", "dynamic"] = "constant"
    schedule_epochs: Count | None = Field(None, description="epochs the schedule is laid out for; default: all of them")
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_from_zero: bool = Field(False, description="the very first step has rate 0")
    step_epochs: Count = Field(10, description="schedule: step multiplies the rate by step_gamma every so many epochs")
    step_gamma: Positive = 0.1
    dynamic_signal: Fraction = Field(0.3, description="schedule: dynamic lowers the rate when a running mean of the")
    dynamic_decay: Annotated[float, Field(gt=0, lt=1)] = Field(0.8, description="selection figure falls")
    dynamic_limit: Annotated[float, Field(ge=0)] = Field(1e-4, description="no reduction below this rate")
    dynamic_wait: Count = Field(2, description="evaluations between two reductions")
    grad_clip: Positive | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="averaged weights are evaluated")

    @model_validator(mode="after")
    def _one_schedule(self) -> "OptimConfig":
        if self.schedule == "dynamic" and self.warmup_epochs:
            raise ValueError(f"warmup_epochs must be 0 with schedule dynamic, got {self.warmup_epochs}")
        return self


class StoppingConfig(Strict):
    """When training ends before its last epoch; ``cole, ack, llm, boostlu`` are the published rules."""

    rule: Literal["cole", "ack", "llm", "boostlu", "patience"] = "cole"
    patience: Count = Field(5, description="epochs without improvement; rule: patience")


class LinearInitConfig(Strict):
    """First stage of ``mode: linear_init``: the head alone, on the frozen backbone's features."""

    epochs: Count = 25
    lr: Positive = 1e-4
    batch_size: Count = 8


class TrainConfig(Strict):
    """One run. The same configuration, run again on the same machine, gives the same numbers."""

    mode: Literal["linear", "end_to_end", "linear_init"] = "end_to_end"
    epochs: Count = 10
    seed: Annotated[int, Field(ge=0)] = 0
    compat: Compat = "fixed"
    precision: Precision = Field(
        "paper", description="fast: bfloat16 and TF32 where the device has units for them; paper: single precision"
    )
    compile: Compile = Field(
        "never", description="torch.compile of the backbone, minutes at the start; auto: on CUDA where it is possible"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N, mps")
    threads: Count = Field(1, description="CPU threads of the run; on CPU the rounding of sums depends on it")
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    method: dict[str, Any] = Field(default_factory=lambda: _method("bce"))
    auxiliary: dict[str, Any] | None = Field(None, description="a loss added to the method's, such as contrastive")
    optim: OptimConfig = Field(default_factory=OptimConfig)
    linear_init: LinearInitConfig | None = None
    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    stopping: StoppingConfig = Field(default_factory=StoppingConfig)
    diagnostics: Literal["label_correction"] | None = Field(
        None, description="label_correction: losses of false negatives, precision of pseudo-labels; changes no weight"
    )

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> dict[str, Any]:
        return _method(value)

    @field_validator("auxiliary", mode="before")
    @classmethod
    def _auxiliary(cls, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        from plml.auxiliary import AUXILIARIES

        return _chosen(value, "auxiliary", AUXILIARIES)

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if (self.mode == "linear_init") != (self.linear_init is not None):
            if self.mode == "linear_init":
                object.__setattr__(self, "linear_init", LinearInitConfig())
            else:
                raise ConfigError(f"linear_init is the first stage of mode: linear_init, but mode is '{self.mode}'")
        from plml.auxiliary import AUXILIARIES
        from plml.methods import METHODS
        from plml.models.heads import HEADS
        from plml.observation import OBSERVATIONS

        setting = self.data.observation["name"]
        reveals = OBSERVATIONS[setting].reveals
        method, head = METHODS[self.method["name"]], HEADS[self.model.head["name"]]
        # LinearInit's first stage is linear, so what needs images cannot have it.
        mode = "end_to_end" if self.mode == "end_to_end" else "linear"
        reason = method.refusal(reveals=reveals, mode=mode, class_weights=head.gives_class_weights)
        if reason:
            raise ConfigError(
                f"method.name: '{method.name}' {reason}; data.observation is '{setting}', mode '{self.mode}', "
                f"model.head '{head.name}'"
            )
        if self.optim.schedule_epochs is not None and self.optim.schedule_epochs < self.epochs:
            raise ConfigError(
                f"optim.schedule_epochs: a schedule laid out for {self.optim.schedule_epochs} epochs ends before "
                f"training does; epochs is {self.epochs}"
            )
        beside = AUXILIARIES[self.auxiliary["name"]] if self.auxiliary else None
        if beside is not None and beside.needs_images and mode == "linear":
            raise ConfigError(
                f"auxiliary.name: '{beside.name}' needs images, and mode '{self.mode}' trains on stored features"
            )
        self.selection.check(self.data.observation, reveals)
        return self

    @property
    def choosing(self) -> SelectionConfig:
        """What chooses epochs and trials, with a criterion in the place of ``auto``."""
        return self.selection.resolved(self.data.observation)

    @property
    def selected_by(self) -> str:
        """What chooses epochs and trials, in words; stamped on results."""
        return self.choosing.text

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages; a report's epoch runs from 0 to this less one."""
        return self.epochs + (self.linear_init.epochs if self.linear_init else 0)

    def tree(self) -> dict[str, Any]:
        """Return the resolved configuration as plain nested data."""
        return self.model_dump(mode="json")

    def flat(self) -> dict[str, Any]:
        """Return ``{dotted path: value}`` of the resolved configuration."""
        return flatten(self.tree())

    def computed(self) -> dict[str, Any]:
        """Return what decides the figures as plain data: without the device, and files by their names only."""
        tree = self.tree()
        del tree["device"], tree["data"]["root"]
        tree["selection"] = self.choosing.told()
        if self.compile == "never":  # as before there was such a key
            del tree["compile"]
        if self.diagnostics is None:
            del tree["diagnostics"]
        method = tree["method"]
        files = ((tree["model"], "weights"), (tree["data"]["observation"], "path"))
        for part, key in (*files, (method, "prior_file"), (method, "graph_file")):
            if part.get(key):
                part[key] = Path(part[key]).name
        return tree

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that name what is computed: neither the device nor where files lie."""
        return hashlib.sha256(json.dumps(self.computed(), sort_keys=True).encode()).hexdigest()[:16]


def make_config(tree: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, source: str = "") -> TrainConfig:
    """Build a configuration from nested data and ``{dotted path: value}`` overrides; raise ConfigError."""
    values = dict(tree)
    # Names first: choosing another method drops the options of the one before it.
    for path, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith(".name")):
        branch = path.removesuffix(".name")
        if branch in NAMED and (value is None or isinstance(value, str)):
            values = assign(values, branch, None if value is None else {"name": value})
        else:
            values = assign(values, path, value)
    return validate(TrainConfig, values, source=source)


def dump_config(config: TrainConfig) -> str:
    """Return the resolved configuration as YAML; :func:`load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.tree(), sort_keys=False, allow_unicode=True)


def load_config(path: str | Path, assignments: list[str] | None = None) -> TrainConfig:
    """Read a YAML file, or ``recipe:NAME[/VARIANT]``, and apply ``path=value`` assignments; raise ConfigError."""
    from plml.recipe import PREFIX, recipe_config

    overrides = dict(map(parse_assignment, assignments or []))
    if str(path).startswith(PREFIX):
        return recipe_config(str(path), overrides)
    file = Path(path)
    if file.is_dir():
        inside = [str(path) for path in sorted(file.glob("*.yaml"))]
        raise ConfigError(f"{file} is a folder, and a configuration is a YAML file{nearest(str(file), inside)}")
    if not file.is_file():
        siblings = [str(p) for p in file.parent.glob("*.yaml")] if file.parent.is_dir() else []
        raise ConfigError(f"{file} is not a file{nearest(str(file), siblings) if siblings else ''}")
    tree = read_yaml_file(file)
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{file}: must be a mapping of configuration keys, got {tree!r}")
    return make_config(tree, overrides, source=str(file))
