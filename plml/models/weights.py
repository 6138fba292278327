"""Pretrained backbone weights: from a file or by torchvision's name, stamped with their SHA-256."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from plml.config import ModelConfig
from plml.errors import ConfigError, DataError, nearest
from plml.models.backbones import BACKBONES
from plml.user_path import user_path

SUFFIXES = (".safetensors", ".pth", ".pt")


def weights_digest(config: ModelConfig) -> str | None:
    """Return the SHA-256 of the weight file that ``config`` names, or None when it names none."""
    if config.weights is None:
        return None
    path = find_weights(config)
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time tell a changed file apart
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_weights(config: ModelConfig, *, download: bool = False) -> Path:
    """Return the file with the weights of ``config``.

    ``config.weights`` is a file, or the name of torchvision weights of that backbone, which are looked for
    in torch's hub folder. Nothing is fetched unless ``download``; what was fetched is found from then on.

    Raises:
        DataError: there is no such file, or it cannot be fetched whole.
        ConfigError: torchvision has no weights of that name.
    """
    name = str(config.weights)
    if name.endswith(SUFFIXES) or "/" in name:
        path = user_path(name)
        if not path.is_file():
            siblings = [str(p) for p in path.parent.glob("*") if p.suffix in SUFFIXES] if path.parent.is_dir() else []
            hint = nearest(str(path), siblings) if siblings else ""
            raise DataError(f"model.weights: {path.absolute()} is not a file{hint}")
        return path.absolute()
    return _torchvision_file(config.backbone, name, download)


def _torchvision_file(backbone: str, name: str, download: bool) -> Path:
    from torchvision.models import get_model_weights, list_models

    if backbone not in list_models():
        raise ConfigError(f"model.weights must be a {', '.join(SUFFIXES)} file for backbone '{backbone}', got '{name}'")
    known = get_model_weights(backbone)
    if name not in known.__members__:
        raise ConfigError(
            f"model.weights must be a {', '.join(SUFFIXES)} file or torchvision weights of {backbone}, "
            f"got '{name}'{nearest(name, known.__members__)}"
        )
    url = known[name].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        if not download:
            raise DataError(
                f"model.weights: {name} of {backbone} is not at {path}; nothing is downloaded unless you say so: "
                f"pass --download, or fetch {url}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:  # the file's name ends in the first digits of its SHA-256
            torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:
            raise DataError(f"model.weights: {url} cannot be fetched: {_first_line(error)}") from None
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name; no code in the file is run. Raise DataError if it is none."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can end in any error of the two libraries
        raise DataError(f"{path}: cannot be read as a weight file: {_first_line(error)}") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DataError(f"{path}: expected a mapping of names to tensors, got {type(loaded).__name__}")
    return dict(loaded)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def load_backbone_weights(backbone: nn.Module, config: ModelConfig) -> None:
    """Load the weights of ``config`` into ``backbone``; all of it must be there and fit, the classifier is left out.

    Raises:
        DataError: names the keys that are missing, unexpected or of another shape.
    """
    path = find_weights(config)
    classifier = (BACKBONES[config.backbone].classifier_prefix, "head.")
    given = {
        key.removeprefix("backbone."): tensor  # a whole Classifier, saved, has its backbone under this name
        for key, tensor in read_weights(path).items()
        if not key.startswith(classifier)
    }
    own = backbone.state_dict()
    # Counters of seen batches: absent from old files, and of no use when the momentum is a number.
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    reshaped = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        raise DataError(f"{path}: does not fit backbone '{config.backbone}': {'; '.join(problems)}")
    backbone.load_state_dict({**own, **given})
