from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from plml.config import TrainConfig, make_config
from plml.data import features
from plml.data.features import extract_features
from plml.data.load import load_bundle
from plml.errors import DataError
from plml.models import build_model

Make = Callable[..., Path]


def linear(root: Path, weights: Path | None = None, backbone: str = "small_cnn", size: int = 24) -> TrainConfig:
    data = {"name": "voc2007", "root": str(root), "image_size": size}
    model = {"backbone": backbone, "weights": str(weights) if weights else None}
    return make_config({"mode": "linear", "data": data, "model": model})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    config = make_config({}).model
    model = build_model(config, num_classes=20, input_shape=(3, 24, 24))
    save_file(model.state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_features_are_those_of_the_network_in_eval_mode(make_voc: Make, weights: Path, tmp_path: Path) -> None:
    root = make_voc()
    config = linear(root, weights)
    bundle = load_bundle(config, cache_dir=tmp_path / "cache")
    images = load_bundle(config.model_copy(update={"mode": "end_to_end"}), cache_dir=tmp_path / "cache")
    model = build_model(config.model, num_classes=20, input_shape=(3, 24, 24)).eval()
    for stored, split in ((bundle.train, images.train), (bundle.val, images.val), (bundle.test, images.test)):
        assert stored.ids == split.ids
        everything = torch.arange(len(split))
        with torch.no_grad():
            expected = model(split.gather(everything)).features
        torch.testing.assert_close(stored.gather(everything), expected)


def test_features_are_extracted_once(
    make_voc: Make, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = linear(make_voc(), weights)
    first = extract_features(config, cache_dir=tmp_path / "cache")
    assert {name: array.shape for name, array in first.items()} == {"train": (5, 96), "test": (3, 96)}

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("the features were there already")

    monkeypatch.setattr(features, "build_model", forbidden)
    second = extract_features(config, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(first["train"], second["train"])
    assert isinstance(second["train"], np.memmap)


def test_other_weights_size_or_seed_are_other_features(make_voc: Make, weights: Path, tmp_path: Path) -> None:
    root, cache = make_voc(), tmp_path / "cache"
    unlike = [extract_features(linear(root, weights), cache_dir=cache)["train"]]
    unlike.append(extract_features(linear(root, weights, size=28), cache_dir=cache)["train"])
    untrained = linear(root)
    unlike.append(extract_features(untrained, cache_dir=cache)["train"])
    unlike.append(extract_features(untrained.model_copy(update={"seed": 1}), cache_dir=cache)["train"])
    tensors = {key: value + 0.01 for key, value in torch.load(_as_pth(weights), weights_only=True).items()}
    save_file(tensors, weights)
    unlike.append(extract_features(linear(root, weights), cache_dir=cache)["train"])
    assert len({array.tobytes() for array in unlike}) == len(unlike)


def _as_pth(path: Path) -> Path:
    from safetensors.torch import load_file

    torch.save(load_file(path), path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def test_untrained_backbone_is_the_one_that_training_starts_from(make_voc: Make, tmp_path: Path) -> None:
    config = linear(make_voc())
    array = extract_features(config, cache_dir=tmp_path / "cache")["train"]
    torch.manual_seed(config.seed)
    model = build_model(config.model, num_classes=20, input_shape=(3, 24, 24)).eval()
    images = load_bundle(config.model_copy(update={"mode": "end_to_end"}), cache_dir=tmp_path / "cache").train
    with torch.no_grad():
        expected = model(images.gather(torch.arange(len(images)))).features
    torch.testing.assert_close(torch.from_numpy(array[images.rows]), expected)


def test_extraction_leaves_the_global_random_stream_alone(make_voc: Make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    extract_features(linear(make_voc()), cache_dir=tmp_path / "cache")
    assert torch.equal(torch.rand(3), expected)


def test_missing_weights_are_named_before_any_work(make_voc: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.weights: .*absent\.safetensors is not a file"):
        extract_features(linear(make_voc(), tmp_path / "absent.safetensors"), cache_dir=tmp_path / "cache")


@pytest.mark.data
def test_real_mobilenet_tells_dogs_from_cars(shared_data: Path, tmp_path: Path) -> None:
    """Features of 60 real photos separate two classes that the backbone knows well."""
    from plml.data.inputs import Pixels
    from plml.data.pixels import decode
    from plml.data.voc import CLASS_NAMES, Voc2007

    part = Voc2007().read(shared_data / "data" / "voc2007_part").train
    assert part.paths is not None
    dog, car = (part.truth[:, CLASS_NAMES.index(name)] == 1 for name in ("dog", "car"))
    rows = np.concatenate([np.flatnonzero(dog & ~car)[:30], np.flatnonzero(car & ~dog)[:30]])
    pixels = Pixels(np.stack([decode(part.paths[row], 128) for row in rows]), "photos")
    weights = shared_data / "weights" / "mobilenet_v2_imagenet.safetensors"
    config = linear(tmp_path, weights, "mobilenet_v2")
    array = np.empty((60, 1280), dtype=np.float32)
    features._Extractor(config.model, pixels, 0, torch.device("cpu")).fill(array, 0, 60)
    train, test = np.arange(0, 60, 2), np.arange(1, 60, 2)
    centres = np.stack([array[train[:15]].mean(axis=0), array[train[15:]].mean(axis=0)])
    distance = ((array[test][:, None] - centres) ** 2).sum(axis=2)
    assert (distance.argmin(axis=1) == np.repeat([0, 1], 15)).mean() > 0.9
