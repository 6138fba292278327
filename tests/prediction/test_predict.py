"""Many images: in order, whatever is among them, in every form, and never all in memory; nothing is computed twice."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from plml.checkpoint import load_checkpoint, save_checkpoint
from plml.cli import DONE, FAILED, INTERRUPTED, WRONG_INPUT, main
from plml.prediction.kept_rows import KeptRows
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


def rows_of(text: str, form: str) -> list[str]:
    """The names of the images in what was written."""
    if form == "csv":
        return [row["image"] for row in csv.DictReader(io.StringIO(text))]
    return [row["image"] for row in (json.loads(text) if form == "json" else map(json.loads, text.splitlines()))]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_a_name_that_is_no_text_ends_nothing(best: Path, tmp_path: Path, form: str) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    try:
        write_image(Path(odd), 1)
    except OSError:
        pytest.skip("this file system takes no such name")
    write_image(tmp_path / "zebra é [red].png", 2)
    out = tmp_path / f"scores.{form}"
    assert main(["predict", str(best), str(tmp_path), "--out", str(out)]) == DONE
    names = [f"{tmp_path}/caf\\xe9.png", f"{tmp_path}/zebra é [red].png"]
    assert rows_of(out.read_text(encoding="utf-8"), form) == names
    # The same on the terminal, whose encoding is strict.
    flags = {"csv": ["--csv"], "json": ["--json"], "jsonl": []}[form]
    done = subprocess.run(
        [sys.executable, "-m", "plml", "predict", str(best), str(tmp_path), "--top", "1", *flags],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "300"},
        capture_output=True,
        check=True,
        timeout=300,
    )
    shown = done.stdout.decode()
    for name in names:
        assert (json.dumps(name, ensure_ascii=False) if form == "json" else name) in shown


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.png", "scores.csv"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Names of 120 images that take a while to decode, and a broken one among the first."""
    (tmp_path / "many").mkdir()
    for number in range(120):
        if number < 5:
            pixels = np.random.default_rng(number).integers(0, 255, (900, 900, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        (tmp_path / "many" / f"{number:03d}.png").symlink_to(tmp_path / f"{number % 5}.png")
    (tmp_path / "many" / "001a.png").write_bytes(b"no image")
    return tmp_path / "many"


def test_ctrl_c_loses_no_row_and_the_same_command_goes_on(best: Path, many: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "scores.csv", tmp_path / "scores.csv.part"
    command = [sys.executable, "-m", "plml", "predict", str(best), str(many), "--batch-size", "1", "--device", "cpu"]
    whole = tmp_path / "whole.csv"
    assert main([*command[3:], "--out", str(whole)]) == FAILED
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and its children
    try:
        process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while (part.read_bytes().count(b"\n") if part.exists() else 0) < 6:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, told
    kept = part.read_bytes().count(b"\n") - 1
    assert 5 <= kept < 121
    assert f"{kept} of 121 images are kept in {part}" in told
    assert not out.exists()
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == FAILED, done.stderr
    assert f"{part}: going on after {kept} of 121 images, 1 of them unread" in done.stderr
    assert "error: 1 of 121 images could not be read" in done.stderr
    assert "left out: " not in done.stderr  # it was told the first time
    assert out.read_bytes() == whole.read_bytes()
    assert not part.exists()


def stopped_after(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C be pressed when so many rows are kept."""
    add = KeptRows.add

    def add_some(self: KeptRows, row: Any) -> None:
        if self.count == rows:
            raise KeyboardInterrupt
        add(self, row)

    monkeypatch.setattr(KeptRows, "add", add_some)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("rows", [1, 4, 6])
def test_what_goes_on_writes_the_same(
    best: Path, folder: Path, tmp_path: Path, form: str, rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(best), str(folder), "--thresholds", "0.3", "--device", "cpu", "--batch-size", "4"]
    whole, out = tmp_path / f"whole.{form}", tmp_path / f"scores.{form}"
    part = tmp_path / f"scores.{form}.part"
    assert main([*command, "--out", str(whole)]) == FAILED
    out.write_text("of before")
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(rows, patch)
        assert main([*command, "--out", str(out)]) == INTERRUPTED
    assert out.read_text() == "of before"
    with part.open("ab") as file:  # as of a process that was killed while it wrote
        file.write(b'{"image": "half a r')
    capsys.readouterr()
    assert main([*command, "--out", str(out)]) == FAILED
    assert f"going on after {rows} of 9 images" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()
    assert not part.exists()


def test_other_batches_go_on_too(best: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after memory that ran out."""
    out = tmp_path / "scores.csv"
    command = ["predict", str(best), str(folder), "--out", str(out), "--batch-size"]
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(6, patch)
        assert main([*command, "8"]) == INTERRUPTED
    assert main([*command, "1"]) == FAILED
    assert "going on after 6 of 9 images" in capsys.readouterr().err
    assert len(rows_of(out.read_text(encoding="utf-8"), "csv")) == 7


@pytest.mark.parametrize("other", ["choice of thresholds", "list of images", "model"])
def test_rows_of_something_else_are_not_taken_over(
    best: Path, folder: Path, tmp_path: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "scores.csv", tmp_path / "best.pt"
    content = load_checkpoint(best)
    save_checkpoint(model, content)
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(3, patch)
        assert main(["predict", str(model), str(folder), "--out", str(out), "--thresholds", "0.3"]) == INTERRUPTED
    cut = "0.4" if other == "choice of thresholds" else "0.3"
    if other == "list of images":
        write_image(folder / "0a.png", 77)
    if other == "model":
        save_checkpoint(model, {**content, "epoch": 77})
    capsys.readouterr()
    command = ["predict", str(model), str(folder), "--thresholds", cut]
    assert main([*command, "--out", str(out)]) == FAILED
    assert f"{out}.part: is of another {other}: beginning anew" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "whole.csv")]) == FAILED
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_file_in_the_way_and_a_second_writer_are_told(
    best: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, part = tmp_path / "scores.csv", tmp_path / "scores.csv.part"
    command = ["predict", str(best), str(folder), "--out", str(out)]
    part.write_text("somebody's own")
    assert main(command) == WRONG_INPUT
    assert "is in the way, and no file of plml predict" in capsys.readouterr().err
    assert part.read_text() == "somebody's own"
    part.unlink()
    with KeptRows(part, {}):
        assert main(command) == WRONG_INPUT
    assert "another process is writing it" in capsys.readouterr().err
    assert not out.exists()


def test_folders_are_read_by_the_formats_that_files_are(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endings = [".jpg", ".JPEG", ".png", ".gif", ".bmp", ".tiff", ".webp", ".ppm", ".pgm", ".mpo", ".jp2"]
    endings += [".avif"] if features.check("avif") else []
    for number, ending in enumerate(endings):
        pixels = np.random.default_rng(number).integers(0, 255, (30, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}{ending}")
    for name in ("notes.txt", "more.txt", "labels.csv", "LICENSE"):
        (tmp_path / name).write_text("no image")
    out = tmp_path / "scores.jsonl"
    assert main(["predict", str(best), str(tmp_path), "--out", str(out)]) == DONE
    assert len(rows_of(out.read_text(encoding="utf-8"), "jsonl")) == len(endings)
    told = capsys.readouterr().err
    assert f"{tmp_path}: 4 files not looked at (2 .txt, " in told
    assert "1 no ending" in told


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
