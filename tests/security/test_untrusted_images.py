"""Images from anybody: size bombs refused, decoders' errors contained, and files that change are noticed."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import image_bytes, photos, write
from PIL import Image, ImageFile

from plml.cli import main
from plml.config import DataConfig, TrainConfig, make_config
from plml.data import pixels
from plml.data.load import load_bundle
from plml.data.pixels import decode, decode_source, read_size
from plml.data.watch import ImageWatch
from plml.errors import ConfigError, DataError


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that says it has width x height pixels."""
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg_bomb(width: int, height: int) -> bytes:
    content = bytearray(image_bytes("JPEG"))
    place = content.index(b"\xff\xc0") + 5  # start of frame: length, precision, then height and width
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def gif_bomb(width: int, height: int) -> bytes:
    content = bytearray(image_bytes("GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp_bomb(width: int, height: int) -> bytes:
    content = bytearray(image_bytes("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def tiff_bomb(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "TIFF")
    data = bytearray(content.getvalue())
    first = struct.unpack("<I", data[4:8])[0]
    for entry in range(struct.unpack("<H", data[first : first + 2])[0]):
        place = first + 2 + 12 * entry
        tag = struct.unpack("<H", data[place : place + 2])[0]
        if tag in (256, 257):  # width and height
            data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(data)


BOMBS: dict[str, Callable[[int, int], bytes]] = {
    "png": png_bomb,
    "jpg": jpeg_bomb,
    "gif": gif_bomb,
    "bmp": bmp_bomb,
    "tiff": tiff_bomb,
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("size", [(10_000, 10_000), (50_000, 50_000)])  # over the limit, and far over
def test_a_size_bomb_is_refused(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "bomb.jpg"
    file.write_bytes(BOMBS[kind](*size))
    for read in (lambda: decode(file, 8), lambda: decode_source(file, 8, 8), lambda: read_size(file)):
        with pytest.raises(DataError, match=r"bomb\.jpg: .*pixels.*PLML_MAX_IMAGE_PIXELS raises"):
            read()


def test_the_limit_can_be_raised_and_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # put back afterwards
    (tmp_path / "wide.png").write_bytes(image_bytes("PNG"))  # 31 x 24 = 744 pixels
    monkeypatch.setenv("PLML_MAX_IMAGE_PIXELS", "744")
    assert decode(tmp_path / "wide.png", 8).shape == (8, 8, 3)
    monkeypatch.setenv("PLML_MAX_IMAGE_PIXELS", "743")
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(DataError, match="over the limit of 743 pixels"):
        decode(tmp_path / "wide.png", 8)
    for wrong in ("many", "0", "-5", "1e9"):
        monkeypatch.setenv("PLML_MAX_IMAGE_PIXELS", wrong)
        with pytest.raises(ConfigError, match=f"PLML_MAX_IMAGE_PIXELS must be a number of pixels .* '{wrong}'"):
            decode(tmp_path / "wide.png", 8)


@pytest.mark.parametrize(
    "error",
    [
        OSError("broken data stream"),
        SyntaxError("not a TIFF file"),
        struct.error("unpack requires a buffer"),
        zlib.error("Error -3"),
        MemoryError(),
        EOFError(),
        IndexError("index out of range"),
        KeyError("mode"),
        ZeroDivisionError("division by zero"),
        OverflowError("too large"),
        TypeError("not bytes"),
        RecursionError("too deep"),
        AssertionError(),
        NotImplementedError("no such compression"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_names_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.png").write_bytes(image_bytes("PNG"))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=r"own\.png: expected a whole, readable image, but decoding failed"):
        decode(tmp_path / "own.png", 8)


def test_an_interrupt_is_no_decoding_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.png").write_bytes(image_bytes("PNG"))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(tmp_path / "own.png", 8)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"


def test_postscript_is_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start Ghostscript for it."""
    (tmp_path / "photo.jpg").write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / "photo.jpg") as image:
        assert image.format == "EPS"
    started: list[object] = []
    monkeypatch.setattr("subprocess.check_call", started.append)
    monkeypatch.setattr("subprocess.Popen", started.append)
    with pytest.raises(DataError, match=r"photo\.jpg: expected a whole, readable image"):
        decode(tmp_path / "photo.jpg", 8)
    assert started == []


def test_formats_are_those_that_photos_come_in() -> None:
    known = set(pixels._known_formats())
    assert {"JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"} <= known
    assert not known & {"EPS", "WMF", "FPX", "MIC", "PDF", "IPTC", "PSD", "FITS", "GRIB", "HDF5", "BUFR"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_wrong_extension_does_not_matter(kind: str, tmp_path: Path) -> None:
    (tmp_path / "own.jpg").write_bytes(image_bytes(kind))
    assert decode(tmp_path / "own.jpg", 8).shape == (8, 8, 3)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"BM", b"P6 0 0 255 "]
)
def test_an_image_of_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "own.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"own\.jpg: expected a whole, readable image"):
        decode(tmp_path / "own.jpg", 8)


def test_an_animation_counts_as_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "own.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(tmp_path / "own.gif", 2)[0, 0], [255, 0, 0])


def test_exif_does_not_turn_an_image(tmp_path: Path) -> None:
    """As in torchvision: the pixels as they are stored."""
    (tmp_path / "turned.jpg").write_bytes(image_bytes("JPEG"))
    with Image.open(tmp_path / "turned.jpg") as image:
        assert image.getexif()[0x0112] == 6
    assert read_size(tmp_path / "turned.jpg") == (31, 24)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_eight_bits_are_refused_and_not_cut_off(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 300, dtype=dtype)).save(tmp_path / "deep.tiff")
    for read in (lambda: decode(tmp_path / "deep.tiff", 2), lambda: decode_source(tmp_path / "deep.tiff", 2, 2)):
        with pytest.raises(DataError, match=r"deep\.tiff: has more than 8 bits a channel"):
            read()


# -- a data set in which some are broken, or change ---------------------------------------------------------------

NAMES = [f"a_{number}.jpg" for number in range(10)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number, name in enumerate(NAMES):
        photos(root, name)
        Image.new("RGB", (9, 9), (20 * number, 0, 0)).save(root / name)
    rows = [f"{name},{number % 2},{(number + 1) % 2}" for number, name in enumerate(NAMES)]
    write(root, {"labels.csv": "\n".join(["file,cat,dog", *rows]) + "\n"})
    return root


def config(root: Path) -> TrainConfig:
    return make_config({"method": "an", "data": {"name": "folder", "root": str(root), "image_size": 8}})


def test_doctor_lists_all_broken_images_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / NAMES[1]).write_bytes(b"")
    (folder / NAMES[4]).write_bytes((folder / NAMES[4]).read_bytes()[:200])
    (folder / NAMES[7]).write_bytes(png_bomb(50_000, 50_000))
    (folder / NAMES[8]).write_bytes(POSTSCRIPT)
    assert main(["doctor", "--data", "folder", "--root", str(folder), "--deep"]) != 0
    said = capsys.readouterr().out
    broken = [name for name in NAMES if f"{folder / name}: " in said]
    assert broken == [NAMES[1], NAMES[4], NAMES[7], NAMES[8]]


def test_a_broken_image_is_named_before_training(folder: Path) -> None:
    (folder / NAMES[4]).write_bytes(b"junk")
    with pytest.raises(DataError, match=r"a_4\.jpg: expected a whole, readable image"):
        load_bundle(config(folder))


def test_what_is_trained_on_does_not_change_under_a_trial(folder: Path) -> None:
    """In the middle of an epoch: batches come from the decoded copy."""
    bundle = load_bundle(config(folder))
    before = np.array(bundle.train.array)
    for name in NAMES:
        (folder / name).write_bytes(b"junk")
    np.testing.assert_array_equal(bundle.train.array, before)


def test_a_change_between_two_trials_is_seen_by_the_next(folder: Path) -> None:
    first = np.array(load_bundle(config(folder)).train.array)
    np.testing.assert_array_equal(load_bundle(config(folder)).train.array, first)  # of the cache
    Image.new("RGB", (9, 9), (0, 0, 255)).save(folder / NAMES[0])
    os.utime(folder / NAMES[0], ns=(1, 1))
    everything = load_bundle(config(folder))
    assert (np.concatenate([everything.train.array, everything.test.array])[..., 2] > 200).any()
    (folder / NAMES[0]).write_bytes(b"junk")
    with pytest.raises(DataError, match=r"a_0\.jpg: expected a whole, readable image"):
        load_bundle(config(folder))
    (folder / NAMES[0]).unlink()
    with pytest.raises(DataError, match=r"a_0\.jpg: there is no such image"):
        load_bundle(config(folder))


def data(root: Path) -> DataConfig:
    return config(root).data


def test_changed_files_are_told_by_name(folder: Path) -> None:
    watch = ImageWatch.of(data(folder))
    assert watch.changed() == []
    assert len(watch.stamps) == 10
    (folder / NAMES[3]).write_bytes(b"junk")
    (folder / NAMES[5]).unlink()
    os.utime(folder / NAMES[6], ns=(5, 5))
    assert sorted(watch.changed()) == [folder / name for name in (NAMES[3], NAMES[5], NAMES[6])]


def test_a_data_set_that_was_moved_is_the_same_and_one_that_was_changed_is_not(folder: Path, tmp_path: Path) -> None:
    digest = ImageWatch.of(data(folder)).digest()
    moved = folder.rename(tmp_path / "elsewhere")
    for name in NAMES:
        os.utime(moved / name, ns=(7, 7))
    assert ImageWatch.of(data(moved)).digest() == digest
    (moved / NAMES[2]).write_bytes(image_bytes("PNG"))
    assert ImageWatch.of(data(moved)).digest() != digest


def test_a_data_set_without_files_has_nothing_to_watch() -> None:
    watch = ImageWatch.of(make_config({"method": "an"}).data)
    assert (watch.digest(), watch.changed()) == (None, [])
