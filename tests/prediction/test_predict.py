"""Many images: in order, whatever is among them, in every form, and never all in memory."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plml.cli import DONE, FAILED, WRONG_INPUT, main
from plml.prediction.stream import AHEAD, score_files
from plml.predictor import Predictor
from plml.thresholds.file import beside


def write_image(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images at two depths, two broken ones, and what is none."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number in range(7):
        write_image(tmp_path / "photos" / ("more" if number % 2 else ".") / f"{number}.png", number)
    (tmp_path / "photos" / "3a.jpg").write_bytes(b"no image")
    whole = (tmp_path / "photos" / "0.png").read_bytes()
    (tmp_path / "photos" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos" / "notes.txt").write_text("not looked at")
    (tmp_path / "photos" / "folder.png").mkdir()
    return tmp_path / "photos"


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_every_file_in_its_order_with_its_own_scores(best: Path, folder: Path, size: int) -> None:
    predictor = Predictor(best, "cpu")
    predictor.batch_size = size
    files = sorted(path for path in folder.rglob("*.*g") if path.is_file())
    found = list(score_files(predictor, files))
    assert [scored.file for scored in found] == files
    broken = [scored.file.name for scored in found if scored.logits is None]
    assert broken == ["3a.jpg", "cut.png"]
    assert all(str(scored.file) in scored.error for scored in found if scored.logits is None)
    for scored in found:
        if scored.logits is not None:
            alone = predictor.logits([predictor.pixels(scored.file)])[0]
            torch.testing.assert_close(scored.logits, alone, rtol=1e-5, atol=1e-6)


def test_files_are_taken_as_they_are_needed(best: Path, tmp_path: Path) -> None:
    predictor = Predictor(best, "cpu")
    predictor.batch_size = 2
    image = write_image(tmp_path / "image.png", 0)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield image

    stream = score_files(predictor, endless())
    for done in range(1, 21):
        next(stream)
        assert taken <= done + (AHEAD + 2) * predictor.batch_size
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl"])
def test_forms_say_the_same_and_broken_images_are_told(
    best: Path, folder: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"scores.{suffix}"
    assert main(["predict", str(best), str(folder), "--out", str(out), "--thresholds", "0.3"]) == FAILED
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("left out: ") == 2
    assert "cut.png" in told.err
    assert "2 of 9 images could not be read" in told.err
    text = out.read_text(encoding="utf-8")
    if suffix == "csv":
        rows = [
            {
                "image": row.pop("image"),
                "labels": [name for name in row.pop("labels").split(";") if name],
                "probabilities": {name: float(p) for name, p in row.items()},
            }
            for row in csv.DictReader(io.StringIO(text))
        ]
    else:
        rows = json.loads(text) if suffix == "json" else [json.loads(line) for line in text.splitlines()]
    names = sorted(path.name for path in folder.rglob("*.png") if path.is_file() and path.name != "cut.png")
    assert sorted(Path(row["image"]).name for row in rows) == names
    predictor = Predictor(best, "cpu")
    for row in rows:
        expected = predictor.probabilities([predictor.pixels(Path(row["image"]))])[0]
        assert list(row["probabilities"]) == list(predictor.class_names)
        assert list(row["probabilities"].values()) == pytest.approx(expected.tolist(), abs=2e-6)
        assert row["labels"] == [name for name, p in row["probabilities"].items() if p >= 0.3]


def test_thresholds_beside_the_checkpoint(
    best: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "best.pt"
    copy.write_bytes(best.read_bytes())
    images = [str(folder / "0.png"), str(folder / "2.png")]
    assert main(["predict", str(copy), *images, "--thresholds", "auto"]) == WRONG_INPUT
    assert "plml thresholds CHECKPOINT writes one" in capsys.readouterr().err
    assert main(["thresholds", str(copy), "--global"]) == DONE
    assert beside(copy).is_file()
    capsys.readouterr()
    assert main(["predict", str(copy), *images, "--thresholds", "auto", "--json"]) == DONE
    told = capsys.readouterr()
    assert "number of positives for all classes at once on observed labels (single_positive" in told.err
    cuts = json.loads(beside(copy).read_text())["thresholds"]
    for line in told.out.splitlines():
        row = json.loads(line)
        assert row["labels"] == [name for name, p in row["probabilities"].items() if p >= cuts[name]]
    assert main(["predict", str(copy), *images, "--thresholds", "auto"]) == DONE
    assert "classes" in capsys.readouterr().out
    # The same thresholds beside another checkpoint: another model's scores mean something else.
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "best.pt"
    other.write_bytes(best.with_name("last.pt").read_bytes())
    beside(other).write_bytes(beside(copy).read_bytes())
    assert main(["predict", str(other), *images, "--thresholds", "auto"]) == WRONG_INPUT
    assert "chosen for another checkpoint" in capsys.readouterr().err


def test_nothing_readable_leaves_no_file(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / "scores.csv"
    out.write_text("of before")
    assert main(["predict", str(best), str(tmp_path / "broken.png"), "--out", str(out)]) == WRONG_INPUT
    assert "none of 1 images could be read" in capsys.readouterr().err
    assert out.read_text() == "of before"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "scores.txt"], "must end in .csv, .json or .jsonl, got 'scores.txt'"),
        (["--out", "scores.csv", "--json"], "leave --json out"),
        (["--thresholds", "1.5"], "from 0 to 1, got 1.5"),
        (["--thresholds", "none.json"], "there is no such file of thresholds"),
    ],
)
def test_wrong_options_are_told(
    best: Path, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(best), str(folder / "0.png"), *arguments]) == WRONG_INPUT
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "argument --batch-size: must be at least 1, got 0"),
        (["--batch-size", "many"], "argument --batch-size: must be a whole number, got 'many'"),
        (["--top", "0"], "argument --top: must be at least 1, got 0"),
    ],
)
def test_numbers_are_read_before_anything_else(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "absent.pt", "absent.png", *arguments])
    assert message in capsys.readouterr().err
