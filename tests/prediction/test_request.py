"""Images in requests: the same scores as files, and every mistake is told as the sender's."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from plml.errors import DataError
from plml.prediction.request import is_files, read_files, read_pixels
from plml.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(best: Path) -> Predictor:
    return Predictor(best, "cpu")


@pytest.fixture(scope="module")
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_way_to_send_an_image_gives_the_scores_of_its_file(
    predictor: Predictor, png: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(png)
    text = base64.b64encode(png).decode()
    wrapped = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    expected = predictor.logits([predictor.pixels(file)])
    ways: list[Any] = [
        [text],
        np.array([text]),
        [wrapped],
        [f"data:image/png;base64,{text}"],
        [png],
        np.array([png], dtype=object),
        pd.DataFrame({"image": [text]}),
        pd.DataFrame({"image": [png]}),
    ]
    for images in ways:
        assert is_files(images)
        assert torch.equal(predictor.logits(read_files(images, predictor)), expected)
    pixels = np.asarray(Image.open(file))[None, :, :, None]
    for array in (pixels, pixels.astype(np.int64), pixels.tolist()):
        assert not is_files(array)
        assert torch.equal(predictor.logits(read_pixels(array, predictor)), expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["%%%"], "image 0: is no base64"),
        (["aGVsbG8="], "image 0: expected a whole, readable image"),
        ([""], "image 0: expected a whole, readable image"),
        ([None], "image 0: expected an image file in base64, got NoneType"),
        ([3], "image 0: expected an image file in base64, got int"),
        (pd.DataFrame({"picture": ["aGVsbG8="]}), "needs the column 'image'"),
    ],
)
def test_wrong_files(predictor: Predictor, images: Any, message: str) -> None:
    assert is_files(images)
    with pytest.raises(DataError, match=message):
        read_files(images, predictor)


def test_the_second_of_two_is_named(predictor: Predictor, png: bytes) -> None:
    with pytest.raises(DataError, match="image 1: "):
        read_files([png, png[:50]], predictor)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"shape \(4, 4, 3\)"),
        (np.zeros((1, 4, 4, 3)), "whole numbers"),
        (np.full((1, 4, 4, 3), 256), "from 0 to 255, got 256 to 256"),
        (np.full((1, 4, 4, 3), -1), "from 0 to 255"),
        (np.zeros((1, 4, 4, 2), np.uint8), "must be uint8 of shape"),
        (np.zeros((1, 0, 4, 3), np.uint8), "must have pixels"),
        ([], "whole numbers"),
        ([[[[1]], [[1, 2]]]], "one request for each"),
    ],
)
def test_wrong_pixels(predictor: Predictor, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pixels(images, predictor)


def test_an_image_that_says_it_is_huge_is_not_decoded(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("L", (1200, 1200)).save(buffer, "PNG")
    monkeypatch.setenv("PLML_MAX_IMAGE_PIXELS", "1000000")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with pytest.raises(DataError, match=r"image 0: .*PLML_MAX_IMAGE_PIXELS raises"):
        read_files([buffer.getvalue()], predictor)


@given(content=st.binary(max_size=200), cut=st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_no_bytes_end_in_another_error(predictor: Predictor, png: bytes, content: bytes, cut: int) -> None:
    for sent in (content, png[:cut] + content, content.decode("latin-1"), base64.b64encode(content).decode()):
        try:
            read_files([sent], predictor)
        except DataError:
            continue
