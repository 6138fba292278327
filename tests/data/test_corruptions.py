"""What ``plml doctor`` says of real data, and of copies of it that somebody damaged."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from plml.cli import DONE, FAILED, main
from plml.data.coco2014 import Coco2014
from plml.data.voc import CLASS_NAMES

pytestmark = pytest.mark.data

Captured = pytest.CaptureFixture[str]

MINI = {
    "train_json": "annotations/instances_train2017.json",
    "test_json": "annotations/instances_val2017.json",
    "train_folder": "train2017",
    "test_folder": "val2017",
}


def options(values: dict[str, str], head: str = "data") -> list[str]:
    return [f"{head}.options.{key}={value}" for key, value in values.items()]


def doctor(capsys: Captured, name: str, root: Path, *more: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["doctor", "--data", name, "--root", str(root), *more])
    output = capsys.readouterr().out
    return code, output.partition("features: ")[2]  # without the machine's own part


@pytest.fixture
def mini(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the real COCO photos, to damage: links, which are replaced and never written through."""
    monkeypatch.setenv("PLML_ALLOW_LINKS", "1")
    return Path(shutil.copytree(shared_data / "data" / "coco_mini", tmp_path / "coco_mini", copy_function=os.symlink))


@pytest.fixture
def voc(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of the real VOC 2007 lists, with the real boxes and photos."""
    real = next((shared_data / "data" / "voc2007_part").glob("**/VOC2007"))
    folder = tmp_path / "voc" / "VOCdevkit" / "VOC2007"
    folder.mkdir(parents=True)
    shutil.copytree(real / "ImageSets", folder / "ImageSets")
    for name in ("Annotations", "JPEGImages"):
        (folder / name).symlink_to(real / name)
    return tmp_path / "voc"


COUNTS: list[tuple[str, str, dict[str, str], list[str]]] = [
    ("voc2007", "voc2007_part", {}, ["1,549 of the official 5,011", "782 of the official 4,952", "20 classes"]),
    ("voc2012", "voc2012_animals", {}, ["600 of the official 5,717", "600 of the official 5,823"]),
    ("coco2014", "coco_mini", MINI, ["│ train │ 208 ", "│ test  │ 198 ", "80 classes"]),
    ("features", "features/corel5k.npz", {}, ["│ train │ 4000 ", "374 classes", "499 features an example"]),
    ("features", "features/mirflickr_partial.mat", {}, ["│ test  │ 1000 ", "7 classes"]),
]


@pytest.mark.parametrize(("name", "folder", "values", "figures"), COUNTS)
def test_counts_of_real_data(
    shared_data: Path, name: str, folder: str, values: dict[str, str], figures: list[str], capsys: Captured
) -> None:
    code, said = doctor(capsys, name, shared_data / "data" / folder, *options(values))
    assert code == DONE, said
    for figure in figures:
        assert figure in said


def test_partial_downloads_are_told_which_file_is_missing(shared_data: Path, capsys: Captured) -> None:
    code, said = doctor(capsys, "cub200", shared_data / "data" / "cub200_labels")
    assert code == FAILED
    assert "CUB_200_2011/images.txt: cannot be read (No such file or directory)" in said


def test_a_missing_image(mini: Path, capsys: Captured) -> None:
    photo = sorted((mini / "train2017").iterdir())[7]
    photo.unlink()
    code, said = doctor(capsys, "coco2014", mini, *options(MINI))
    assert code == FAILED
    assert f"{photo}: there is no such image, but {mini}/annotations/instances_train2017.json lists it" in said


def test_a_truncated_jpeg(mini: Path, capsys: Captured) -> None:
    photo = sorted((mini / "val2017").iterdir())[7]
    content = photo.read_bytes()
    photo.unlink()
    photo.write_bytes(content[:-2000])
    code, said = doctor(capsys, "coco2014", mini, *options(MINI))
    assert code == DONE
    assert "--deep decodes every image" in said
    code, said = doctor(capsys, "coco2014", mini, "--deep", *options(MINI))
    assert code == FAILED
    assert f"test: {photo}: expected a whole, readable image, but decoding failed: image file is truncated" in said
    assert said.count("decoding failed") == 1


def test_voc_lists_whose_labels_belong_to_other_images(voc: Path, capsys: Captured) -> None:
    assert doctor(capsys, "voc2007", voc)[0] == DONE
    order = np.random.default_rng(0).permutation(1549)
    for class_name in CLASS_NAMES:
        path = voc / "VOCdevkit/VOC2007/ImageSets/Main" / f"{class_name}_trainval.txt"
        lines = [line.split() for line in path.read_text().splitlines()]
        rows = zip((image for image, _ in lines), order, strict=True)
        path.write_text("".join(f"{image} {lines[row][1]}\n" for image, row in rows))
    code, said = doctor(capsys, "voc2007", voc)
    assert code == FAILED
    assert "of 1549 images differ from" in said
    assert "The rows of labels are all there, in another order: labels and images do not belong" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--against", "voc2012"], "--against: 'voc2012' must be NAME=FOLDER"),
        (["train_list=val"], "'train_list' must start with 'data.' or 'against.'"),
        (
            ["data.options.train_lst=val"],
            "unknown key 'data.options.train_lst'; did you mean 'data.options.train_list'?",
        ),
    ],
)
def test_a_mistyped_command(voc: Path, more: list[str], message: str, capsys: Captured) -> None:
    code = main(["doctor", "--data", "voc2007", "--root", str(voc), *more])
    said = capsys.readouterr()
    assert code != DONE
    assert message in said.out + said.err


def test_data_sets_that_cannot_be_compared(voc: Path, mini: Path, capsys: Captured) -> None:
    code, said = doctor(capsys, "voc2007", voc, "--against", f"coco2014={mini}", *options(MINI, "against"))
    assert code == FAILED
    assert "'voc2007' has 20 classes, 'coco2014' 80; they cannot be compared" in said


def write_formatted(mini: Path) -> Path:
    """Write the real COCO labels as formatted files; rows of labels and images belong together."""
    source = Coco2014(**MINI).read(mini)
    for part, name in ((source.train, "train"), (source.test, "val")):
        np.save(mini / f"formatted_{name}_images.npy", np.array([f"{name}2017/{image}" for image in part.ids]))
        np.save(mini / f"formatted_{name}_labels.npy", part.truth)
    (mini / "class_names.txt").write_text("\n".join(source.class_names) + "\n")
    return mini


def test_formatted_files_of_another_order(mini: Path, capsys: Captured) -> None:
    write_formatted(mini)
    against = ("--against", f"coco2014={mini}", *options(MINI, "against"))
    assert doctor(capsys, "formatted", mini, *against)[0] == DONE
    np.save(mini / "formatted_train_labels.npy", np.load(mini / "formatted_train_labels.npy")[::-1])
    code, said = doctor(capsys, "formatted", mini, *against)
    assert code == FAILED
    assert "of 406 images differ from 'coco2014'" in said
    assert "The rows of labels are all there, in another order" in said


def test_formatted_files_with_classes_in_another_order(mini: Path, capsys: Captured) -> None:
    write_formatted(mini)
    (mini / "class_names.txt").unlink()
    for name in ("train", "val"):
        path = mini / f"formatted_{name}_labels.npy"
        np.save(path, np.load(path)[:, ::-1])
    code, said = doctor(capsys, "formatted", mini, "--against", f"coco2014={mini}", *options(MINI, "against"))
    assert code == FAILED
    assert "the classes are in another order" in said


def test_a_wrong_nus_wide(shared_data: Path, tmp_path: Path, capsys: Captured) -> None:
    """The real evaluation list, and a training list of the same form: 'splc', whatever the configuration says."""
    real = shared_data / "data" / "label_lists" / "nus_val.txt.gz"
    shutil.copy(real, tmp_path)
    code, said = doctor(capsys, "nus_wide", tmp_path)
    assert code == FAILED
    assert "50,720 images, is the evaluation list of NUS-WIDE version 'splc'; data.options.version is 'cole'" in said
    with gzip.open(real, "rt") as file:
        lines = file.read().splitlines(keepends=True)
    (tmp_path / "nus_train_full.txt").write_text("".join(f"train_{line}" for line in lines[:100]))
    code, said = doctor(capsys, "nus_wide", tmp_path)
    assert code == FAILED
    assert "100 train / 50,720 test; data.options.version is 'cole'" in said
    code, said = doctor(capsys, "nus_wide", tmp_path, "data.options.version=splc")
    assert code == FAILED
    assert "data.options.version 'splc' has 119,103 train / 50,720 test; if it is a part of it" in said


def test_observed_labels_in_the_wrong_encoding(mini: Path, capsys: Captured) -> None:
    write_formatted(mini)
    rng = np.random.default_rng(0)
    for name in ("train", "val"):
        truth = np.load(mini / f"formatted_{name}_labels.npy")
        ours = np.where(rng.random(truth.shape) < 0.5, -1, truth)
        np.save(mini / f"formatted_{name}_labels_obs.npy", ours)
    code, said = doctor(capsys, "formatted", mini)
    assert code == FAILED
    assert "known labels contradict the true ones, in encoding 'signed'" in said
    assert "in 'ours' (1 positive, 0 negative, -1 unknown) none would: set data.options.encoding" in said
    assert doctor(capsys, "formatted", mini, "data.options.encoding=ours")[0] == DONE


def test_true_labels_in_the_wrong_encoding(mini: Path, capsys: Captured) -> None:
    write_formatted(mini)
    signed = 2 * np.load(mini / "formatted_train_labels.npy") - 1
    np.save(mini / "formatted_train_labels.npy", signed)
    code, said = doctor(capsys, "formatted", mini)
    assert code == FAILED
    assert "true labels must be 0 or 1, got -1; it looks like observed labels" in said


def test_a_real_signed_table_read_as_ours(shared_data: Path, tmp_path: Path, capsys: Captured) -> None:
    """VOC's own 1 / -1 / 0: well-formed in our encoding, where it says something else."""
    real = shared_data / "data" / "label_lists" / "voc2007_main_labels.csv.gz"
    with gzip.open(real, "rt") as file:
        header, *rows = file.read().splitlines()
    photos = next((shared_data / "data" / "voc2007_part").glob("**/JPEGImages"))
    there = {path.stem for path in photos.iterdir()}
    kept = [row.replace(",", ".jpg,", 1).replace("trainval", "train") for row in rows if row[:6] in there]
    (tmp_path / "labels.csv").write_text("\n".join([header, *kept]) + "\n")
    (tmp_path / "photos").symlink_to(photos)
    code, said = doctor(capsys, "folder", tmp_path, "data.options.image_folder=photos")
    assert code == DONE  # nothing contradicts it, so it is a hint
    assert "% of the true labels are unknown" in said
    assert "the labels are in 'signed' (1 positive, -1 negative, 0 unknown): set data.options.encoding" in said
    code, said = doctor(capsys, "folder", tmp_path, "data.options.image_folder=photos", "data.options.encoding=signed")
    assert code == DONE
    assert "of the true labels are unknown" not in said
