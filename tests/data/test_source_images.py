"""Photos kept at source scale, and the crops that training cuts from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plml.config import make_config
from plml.data import image_cache
from plml.data.cache_entry import list_entries
from plml.data.image_cache import cached_pixels, cached_sources
from plml.data.load import load_bundle
from plml.data.pixels import decode, source_size
from plml.data.resample import draw_boxes
from plml.errors import DataError
from plml.trainer import Trainer

CPU = torch.device("cpu")


def test_only_large_photos_are_shrunk() -> None:
    assert source_size(500, 375, 448) == (500, 375)
    assert source_size(640, 480, 224) == (597, 448)
    assert source_size(480, 640, 224) == (448, 597)
    assert source_size(4000, 400, 100) == (400, 40)  # a panorama: its long side is limited
    assert source_size(9000, 1, 100) == (400, 1)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = []
    for number, (width, height, mode) in enumerate([(40, 30, "RGB"), (30, 41, "L"), (90, 70, "RGB"), (33, 33, "RGB")]):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, size=(4, 5, 3), dtype=np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(path)
        paths.append(path)
    return paths


def test_photos_are_kept_whole_and_decoded_once(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "CHUNK", 3)  # two chunks, the second not full
    sources = cached_sources(photos, 30, cache_dir=tmp_path)
    assert len(sources) == 4
    for row, path in enumerate(photos):
        picture = Image.open(path).convert("RGB")
        if row == 2:  # 70 pixels on the short side, and 60 are enough
            picture = picture.resize((77, 60), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(sources.image(row), np.array(picture))
    monkeypatch.setattr(image_cache, "decode_source", lambda *_: pytest.fail("it was decoded already"))
    again = cached_sources(photos, 30, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.pixels, sources.pixels)


def test_crops_are_those_of_pillow(photos: list[Path], tmp_path: Path) -> None:
    sources = cached_sources(photos, 30, cache_dir=tmp_path)
    rows = np.array([3, 0, 2, 0])
    torch.manual_seed(5)
    crops = sources.random_crops(rows, 0.3, 24, CPU)
    torch.manual_seed(5)
    widths, heights = torch.from_numpy(sources.sizes[rows]).unbind(1)
    boxes = draw_boxes(heights, widths, 0.3)
    assert (crops.shape, crops.dtype) == ((4, 3, 24, 24), torch.uint8)
    for row, crop, (top, left, height, width) in zip(rows, crops, boxes.tolist(), strict=True):
        picture = Image.fromarray(sources.image(row)).crop((left, top, left + width, top + height))
        expected = np.array(picture.resize((24, 24), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(crop.numpy().astype(int) - expected).max() <= 1
    assert not torch.equal(crops[1], crops[3])  # the same photo, drawn anew


def test_unreadable_photo_is_named(photos: list[Path], tmp_path: Path) -> None:
    photos[1].write_bytes(photos[1].read_bytes()[:90])
    with pytest.raises(DataError, match=r"photos/1\.png: expected a whole, readable image"):
        cached_sources(photos, 30, cache_dir=tmp_path)


@pytest.mark.parametrize("crop_scale", [None, 0.5])
def test_only_training_sees_crops(make_voc: Callable[..., Path], tmp_path: Path, crop_scale: float | None) -> None:
    """Evaluation reads the plain resized squares; without crops nothing is kept at source scale."""
    data = {"name": "voc2007", "root": str(make_voc()), "image_size": 24, "crop_scale": crop_scale, "val_fraction": 0.4}
    config = make_config({"method": "an", "epochs": 1, "device": "cpu", "data": data})
    cache = tmp_path / "cache"
    bundle = load_bundle(config, cache_dir=cache)
    assert (bundle.train.sources is not None) == (crop_scale is not None)
    assert bundle.val.sources is None
    assert bundle.test.sources is None
    kinds = {entry.kind for entry in list_entries(cache)}
    assert kinds == ({"pixels", "sources", "sizes"} if crop_scale else {"pixels"})
    trainer = Trainer(config, bundle, tmp_path / "run")
    seen: list[torch.Tensor] = []
    trainer.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    (report,) = trainer.epochs()
    trained, scored = seen[0], seen[1]
    assert np.isfinite(report.metrics["train/loss"])
    assert trained.shape == (len(bundle.train), 3, 24, 24)
    assert trained.is_floating_point()
    assert torch.equal(scored, bundle.val.gather(torch.arange(len(bundle.val))))
    plain = trainer.model.preprocess(bundle.train.gather(torch.arange(len(bundle.train))))
    either = torch.cat([plain, plain.flip(-1)])
    whole = [any(torch.equal(image, other) for other in either) for image in trained]
    assert not any(whole) if crop_scale else all(whole)


def test_crops_differ_between_epochs_and_repeat_with_the_seed(photos: list[Path], tmp_path: Path) -> None:
    sources = cached_sources(photos, 30, cache_dir=tmp_path)
    drawn = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        drawn.append(sources.random_crops(np.array([0, 2]), 0.5, 16, CPU))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.data
def test_real_photos_equal_decoding_each_time(shared_data: Path, tmp_path: Path) -> None:
    """The cached squares, mirrored and normalised as a batch, are torchvision's pipeline on each photo, bit for bit."""
    from torchvision import transforms

    from plml.data.augment import mirror
    from plml.data.pixels import normalize

    folder = shared_data / "data" / "voc2007_part" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    paths = sorted(folder.glob("*.jpg"))[:12]
    array, _ = cached_pixels(paths, 448, cache_dir=tmp_path)
    flips = torch.arange(12) % 3 == 0
    ours = normalize(mirror(torch.from_numpy(np.array(array)).permute(0, 3, 1, 2), flips))
    steps = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    for image, path, flip in zip(ours, paths, flips.tolist(), strict=True):
        first = [transforms.Resize((448, 448)), *([transforms.RandomHorizontalFlip(1.0)] if flip else [])]
        assert torch.equal(image, transforms.Compose([*first, *steps])(Image.open(path).convert("RGB")))
    np.testing.assert_array_equal(array[3], decode(paths[3], 448))
