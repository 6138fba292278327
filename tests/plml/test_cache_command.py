"""``plml cache``: as a user types it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from plml.cli import DONE, FAILED, WRONG_INPUT, main
from plml.commands.cache import choose, parse_age, parse_size
from plml.data.cache import cached_array
from plml.data.cache_entry import list_entries
from plml.errors import ConfigError

DAY = 86_400


def fill(array: NDArray[Any], start: int, stop: int) -> None:
    array[start:stop] = 7


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three arrays of about 100 KB, used 40, 20 and 0 days ago."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PLML_CACHE_DIR", str(folder))
    for key, kind, age in (("aaa1", "pixels", 40), ("bbb2", "features", 20), ("abc3", "pixels", 0)):
        about = {"data": "mine", "part": "train", "images": 100, "image_size": 18}
        cached_array(folder / kind / key, (100, 1000), np.dtype(np.uint8), fill, label="x", about=about)
        then = time.time() - age * DAY
        os.utime(folder / kind / f"{key}.used", (then, then))
    return folder


def keys(cache: Path) -> list[str]:
    return [entry.key for entry in list_entries(cache)]


def test_sizes_and_ages() -> None:
    assert parse_size("20GB") == 20 * 10**9
    assert parse_size(" 1.5 GiB ") == int(1.5 * 2**30)
    assert parse_size("7b") == 7
    assert parse_age("30d") == 30 * DAY
    assert parse_age("1.5h") == 5400
    for text in ("20", "GB", "20 parsecs", "-1GB", ""):
        with pytest.raises(ConfigError, match="--to-size must be a number and a unit such as 20GB"):
            parse_size(text)
    for text in ("30", "d", "3y", "-1d"):
        with pytest.raises(ConfigError, match="--unused-for must be a number and one of"):
            parse_age(text)


def test_list_shows_what_there_is(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "list"]) == DONE
    text = capsys.readouterr().out
    assert "aaa1" in text
    assert "mine train" in text
    assert "3 arrays" in text
    assert main(["cache", "list", "--json"]) == DONE
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == ["aaa1", "bbb2", "abc3"]
    assert rows[0]["images"] == 100
    assert rows[0]["bytes"] >= 100_000
    assert rows[0]["complete"] is True


def test_list_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PLML_CACHE_DIR", str(tmp_path / "none"))
    assert main(["cache", "list"]) == DONE
    assert "nothing is cached" in capsys.readouterr().out
    assert main(["cache", "drop", "--all", "--yes"]) == DONE
    assert not (tmp_path / "none").exists()


def test_choose_takes_the_least_recently_used(cache: Path) -> None:
    entries, now = list_entries(cache), time.time()
    size = entries[0].num_bytes

    def chosen(*words: str, days: float | None = None, to_size: int | None = None) -> list[str]:
        age = None if days is None else days * DAY
        return [entry.key for entry in choose(entries, words, unused_for=age, to_size=to_size, at=now)]

    assert chosen() == ["aaa1", "bbb2", "abc3"]
    assert chosen("a") == ["aaa1", "abc3"]
    assert chosen("a", days=1) == ["aaa1"]
    assert chosen(days=10) == ["aaa1", "bbb2"]
    assert chosen(to_size=sum(entry.num_bytes for entry in entries)) == []
    assert chosen(to_size=2 * size + 100) == ["aaa1"]
    assert chosen(to_size=0) == ["aaa1", "bbb2", "abc3"]
    assert chosen("b", to_size=0) == ["bbb2"]


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["aaa"], ["bbb2", "abc3"]),
        (["a"], ["bbb2"]),
        (["--unused-for", "30d"], ["bbb2", "abc3"]),
        (["--to-size", "0.15MB"], ["abc3"]),
        (["--all"], []),
    ],
)
def test_drop(cache: Path, words: list[str], left: list[str]) -> None:
    assert main(["cache", "drop", *words, "--yes"]) == DONE
    assert keys(cache) == left


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["drop", "--yes"], "name what to drop"),
        (["drop", "zzz", "--yes"], "no cached array has a key that begins with 'zzz'"),
        (["verify", "zzz"], "no cached array has a key that begins with 'zzz'"),
        (["drop", "--all"], "there is nobody to ask; add --yes"),
        (["drop", "--to-size", "much", "--yes"], "--to-size must be a number and a unit"),
        (["build", "data.name=voc2008"], "voc2007"),
        (["build", "recipe:none"], "there is no recipe 'none'"),
    ],
)
def test_wrong_words(cache: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["cache", *words]) == WRONG_INPUT
    assert message in capsys.readouterr().err
    assert len(keys(cache)) == 3


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 3), ("", 3)])
def test_drop_asks(cache: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("plml.commands.cache.console.input", lambda _: answer)
    assert main(["cache", "drop", "--all"]) == DONE
    assert len(keys(cache)) == left


def test_drop_leaves_what_is_read(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = cached_array(cache / "pixels" / "aaa1", (100, 1000), np.dtype(np.uint8), fill, label="x")
    assert main(["cache", "drop", "--all", "--yes"]) == WRONG_INPUT
    assert "a live process builds or reads them: pixels/aaa1" in capsys.readouterr().err
    assert keys(cache) == ["aaa1"]
    assert held[0, 0] == 7


def test_verify_names_damaged_rows(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify"]) == DONE
    assert "3 arrays verified, 0 damaged" in capsys.readouterr().out
    path = cache / "features" / "bbb2" / "array.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["cache", "verify", "bbb"]) == FAILED
    text = capsys.readouterr().out
    assert "features/bbb2: rows 0 to 99 are damaged" in text
    assert "1 arrays verified, 1 damaged" in text


def write_folder(root: Path) -> None:
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,cat,dog"]
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)).save(root / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{int(number % 3 == 0)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def test_build_decodes_and_extracts_what_a_run_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLML_CACHE_DIR", str(tmp_path / "cache"))
    write_folder(tmp_path / "mine")
    words = ["data.name=folder", f"data.root={tmp_path / 'mine'}", "data.image_size=16", "device=cpu"]

    def kinds() -> list[tuple[str, str]]:
        return sorted((e.kind, e.about["part"]) for e in list_entries(tmp_path / "cache"))

    images = [("pixels", "test"), ("pixels", "train")]
    assert main(["cache", "build", *words, "mode=end_to_end"]) == DONE
    assert kinds() == images
    assert main(["cache", "build", *words, "mode=end_to_end", "data.crop_scale=0.7"]) == DONE
    assert kinds() == [*images, ("sizes", "train"), ("sources", "train")]
    config = tmp_path / "config.yaml"
    config.write_text("method: an\nmode: linear\n")
    assert main(["cache", "build", str(config), *words]) == DONE
    assert kinds() == [("features", "test"), ("features", "train"), *images, ("sizes", "train"), ("sources", "train")]
    assert "folder: everything is cached" in capsys.readouterr().out
    assert main(["cache", "drop", "--all", "--yes"]) == DONE
    assert kinds() == []
