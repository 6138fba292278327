from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plml.data.pixels import decode, normalize, resize
from plml.errors import DataError


def photo(mode: str = "RGB", size: tuple[int, int] = (61, 37)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("side", [16, 100])
def test_resize_and_normalize_are_torchvisions_pipeline(side: int) -> None:
    from torchvision import transforms

    pipeline = transforms.Compose(
        [
            transforms.Resize((side, side)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    ours = normalize(torch.from_numpy(resize(photo(), side)).permute(2, 0, 1)[None])[0]
    assert torch.equal(ours, pipeline(photo()))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert resize(photo(mode), 20).shape == (20, 20, 3)


def test_decode_reads_files_of_several_formats(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.bmp", "a.gif"):
        photo().save(tmp_path / name)
        assert decode(tmp_path / name, 12).shape == (12, 12, 3)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 12), resize(photo(), 12))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_truncated_file_is_named(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    photo(size=(200, 150)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: expected a whole, readable image"):
        decode(path, 12)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"page\.jpg: expected a whole, readable image"):
        decode(tmp_path / "page.jpg", 12)
    with pytest.raises(DataError, match=r"absent\.jpg: there is no such image"):
        decode(tmp_path / "absent.jpg", 12)
    with pytest.raises(DataError, match="expected a whole, readable image"):
        decode(tmp_path, 12)


@pytest.mark.parametrize("limit", [1500, 500])  # 61 x 37 = 2257 pixels: over the limit, and over twice the limit
def test_size_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    photo().save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"bomb\.png: .*pixels"):
        decode(tmp_path / "bomb.png", 12)
