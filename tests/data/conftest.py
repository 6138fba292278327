"""Small real data set trees: JPEG files and lists written as the field's archives hold them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plml.data.voc import CLASS_NAMES

# Rows are images; what is not said is absent. 0: only difficult objects.
TRAIN = {"000009": {"horse": 1, "person": 1}, "000005": {"chair": 1}, "000007": {"car": 1, "person": 0}}
TRAIN |= {"000012": {"car": 1}, "000016": {"bicycle": 1, "person": 1}}
TEST = {"000001": {"dog": 1, "person": 1}, "000002": {"train": 1, "car": 0}, "000004": {"person": 0}}


def write_photo(path: Path, seed: int, width: int = 60, height: int = 44) -> None:
    """Write a smooth colour picture, so that JPEG keeps most of it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)


def write_list(main: Path, name: str, images: dict[str, dict[str, int]]) -> None:
    main.mkdir(parents=True, exist_ok=True)
    (main / f"{name}.txt").write_text("".join(f"{image}\n" for image in images))
    for class_name in CLASS_NAMES:
        lines = (f"{image} {labels.get(class_name, -1):2d}\n" for image, labels in images.items())
        (main / f"{class_name}_{name}.txt").write_text("".join(lines))


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a VOCdevkit tree and returns the folder that holds VOCdevkit."""

    def make(year: str = "2007", train: str = "trainval", test: str = "test") -> Path:
        folder = tmp_path / "VOCdevkit" / f"VOC{year}"
        write_list(folder / "ImageSets" / "Main", train, TRAIN)
        write_list(folder / "ImageSets" / "Main", test, TEST)
        for seed, image in enumerate([*TRAIN, *TEST]):
            write_photo(folder / "JPEGImages" / f"{image}.jpg", seed)
        return tmp_path

    return make
