"""Names out of data and out of ledgers: they name files below their folder, or are refused with file and line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz_targets import IDS, coco, cub, formatted, nus_lists, nus_official, openimages, photos, reader, voc, write

from ablations.grid import load_grid
from plml.data.contained import name_fault, require_contained
from plml.errors import ConfigError, DataError
from plml.label_files.rows import image_key
from tune.folders import StudyFolder
from tune.study import load_study

OUTSIDE = [
    "../secret.jpg",
    "a/../../secret.jpg",
    "/etc/passwd",
    "..\\secret.jpg",
    "\\\\server\\share\\secret.jpg",
    "C:\\secret.jpg",
    "c:/secret.jpg",
    "a\0.jpg",
    "x" * 300 + ".jpg",
    "y/" * 3000 + "a.jpg",
    "",
    "\ud800.jpg",
]
INSIDE = ["a.jpg", "b/c/d.png", "..a.jpg", "a..b.jpg", "...", "ünïcode.jpg", "x" * 251 + ".jpg", "a:b.jpg", "a b.jpg"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    assert name_fault(name) is not None
    listing = tmp_path / "list.txt"
    listing.write_bytes(b"fine.jpg\n" + name.encode(errors="surrogatepass") + b"\n")
    with pytest.raises(DataError, match=r"list\.txt: .*images are named by relative paths"):
        require_contained(["fine.jpg", name], listing)


@pytest.mark.parametrize("name", INSIDE)
def test_a_name_that_does_not_is_not(name: str) -> None:
    assert name_fault(name) is None


def test_the_line_is_named(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("a.jpg\nb.jpg\n../c.jpg\n")
    with pytest.raises(DataError, match=r"list\.txt: line 3 names '\.\./c\.jpg', which leads out of the folder"):
        require_contained(["a.jpg", "b.jpg", "../c.jpg"], listing)


# -- every data set that reads names ------------------------------------------------------------------------------


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def a_voc(folder: Path) -> Any:
    base = voc(folder)
    for file in (base / "ImageSets/Main").glob("*_trainval.txt"):
        replaced(file, "000007", "../000007")
    photos(base, "000007.jpg")
    return reader("voc2007", folder)


def a_coco(folder: Path) -> Any:
    target = coco(folder)
    replaced(target.file, IDS[1], f"../{IDS[1]}")
    target.reset()
    photos(folder, IDS[1])
    return target.read


def an_openimages(folder: Path) -> Any:
    target = openimages(folder, "train/annotations-human.csv")
    replaced(target.file, "00a", "../00a")
    photos(folder / "images", "00a.jpg")
    return target.read


def a_cub(folder: Path) -> Any:
    target = cub(folder, "images.txt")
    replaced(target.file, "001.Gull", "../001.Gull")
    photos(folder, "001.Gull/1.jpg")
    return target.read


def a_nus_list(folder: Path) -> Any:
    target = nus_lists(folder, "nus_train_full.txt")
    for name in ("nus_train_full.txt", "nus_train_single.txt"):
        replaced(folder / name, "a_1", "../a_1")
    photos(folder, "a_1.jpg")
    return target.read


def a_nus_concept(folder: Path) -> Any:
    target = nus_official(folder)
    replaced(target.file, "dog", "x/../../../../dog")
    return target.read


def a_nus_image(folder: Path) -> Any:
    target = nus_official(folder)
    replaced(folder / "ImageList/TrainImagelist.txt", "actor\\", "..\\")
    photos(folder, "a_1.jpg")
    return target.read


def a_formatted(folder: Path) -> Any:
    target = formatted(folder, "formatted_train_images.npy")
    np.save(target.file, np.array(["../a_1.jpg", *(f"train/{name}" for name in IDS[1:])]))
    photos(folder.parent, "a_1.jpg")
    return target.read


def a_folder(folder: Path) -> Any:
    write(folder, {"labels.csv": "file,cat\n../a_1.jpg,1\na_2.jpg,0\na_3.jpg,1\n"})
    photos(folder, *IDS)
    photos(folder.parent, "a_1.jpg")
    return reader("folder", folder)


@pytest.mark.parametrize(
    "build",
    [a_voc, a_coco, an_openimages, a_cub, a_nus_list, a_nus_concept, a_nus_image, a_formatted, a_folder],
)
def test_no_data_set_reads_outside_its_folder(build: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    read = build(folder)
    with pytest.raises(DataError, match="leads out of the folder"):
        read()


def test_an_output_of_class_maps_cannot_be_led_out_either() -> None:
    assert image_key("../../etc/passwd.jpg") == "passwd"


# -- links --------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder data set with a link to a file outside."""
    folder = tmp_path / "data"
    photos(folder, *IDS)
    photos(tmp_path / "elsewhere", "secret.jpg")
    (folder / IDS[1]).unlink()
    (folder / IDS[1]).symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    write(folder, {"labels.csv": "file,cat\n" + "".join(f"{name},1\n" for name in IDS[:3]) + f"{IDS[3]},0\n"})
    return folder


def test_a_link_out_of_the_folder_is_refused(linked: Path) -> None:
    with pytest.raises(DataError, match=r"a_2\.jpg: is a link that leads out of .*PLML_ALLOW_LINKS=1"):
        reader("folder", linked)()


def test_links_out_may_be_allowed(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLML_ALLOW_LINKS", "1")
    reader("folder", linked)()


def test_a_linked_folder_in_the_path_of_an_image_is_refused(linked: Path, tmp_path: Path) -> None:
    (linked / IDS[1]).unlink()
    (linked / "sub").symlink_to(tmp_path / "elsewhere")
    replaced(linked / "labels.csv", IDS[1], "sub/secret.jpg")
    with pytest.raises(DataError, match="sub: is a link that leads out"):
        reader("folder", linked)()


def test_links_inside_and_a_linked_data_set_are_fine(linked: Path, tmp_path: Path) -> None:
    (linked / IDS[1]).unlink()
    (linked / IDS[1]).symlink_to(linked / IDS[0])
    reader("folder", linked)()
    (tmp_path / "short").symlink_to(linked)
    reader("folder", tmp_path / "short")()


# -- names of studies, grids and trials -----------------------------------------------------------------------------

SMALL = "search_space:\n  optim.lr: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}\n"
GRID = "factors: {method: [an, role]}\n"
NAMES = ["../up", "a/b", "/abs", "..", ".hidden", "a\0b", "a\\b", "", "x" * 200]


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_a_study_cannot_be_named_out_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SMALL)
    with pytest.raises(ConfigError, match="a study's name"):
        load_study(tmp_path / "own.yaml", name=name)


@pytest.mark.parametrize("file", ["...yaml", ".hidden.yaml", "a b.yaml", "x" * 200 + ".yaml"])
def test_nor_by_the_name_of_its_file(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(SMALL)
    with pytest.raises(ConfigError, match="a study's name"):
        load_study(tmp_path / file)
    (tmp_path / file).write_text(GRID)
    with pytest.raises(ConfigError, match="name"):
        load_grid(tmp_path / file, output=tmp_path)


@pytest.mark.parametrize("key", [name for name in NAMES if name != "x" * 200])
def test_a_ledger_of_somebody_else_cannot_name_a_folder(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a trial's key"):
        StudyFolder(tmp_path / "own").trial(key)


def test_keys_of_trials_are_what_they_were(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "own")
    assert folder.trial("0007") == tmp_path / "own" / "trials" / "0007"


def test_the_images_of_a_json_may_lie_deeper(tmp_path: Path) -> None:
    target = coco(tmp_path)
    tree = json.loads(target.file.read_text())
    tree["images"][0]["file_name"] = "deeper/still/a.jpg"
    target.file.write_text(json.dumps(tree))
    photos(tmp_path / "images", "deeper/still/a.jpg")
    target.reset()
    target.read()
