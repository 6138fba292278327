from collections.abc import Callable
from pathlib import Path

import pytest

from plml.data.voc import CLASS_NAMES, Voc2007, Voc2012
from plml.errors import DataError
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN

Make = Callable[..., Path]
COLUMN = {name: index for index, name in enumerate(CLASS_NAMES)}


def main_folder(root: Path, year: str = "2007") -> Path:
    return root / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main"


def test_classes_are_the_twenty_in_alphabetical_order() -> None:
    assert len(CLASS_NAMES) == 20
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES)


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_rows_are_sorted_by_id_and_hold_the_listed_labels(make_voc: Make, below: str) -> None:
    source = Voc2007().read(make_voc() / below)
    assert source.train.ids == ["000005", "000007", "000009", "000012", "000016"]
    assert source.test.ids == ["000001", "000002", "000004"]
    assert source.train.paths is not None
    assert [path.name for path in source.train.paths[:2]] == ["000005.jpg", "000007.jpg"]
    horse_and_person = source.train.truth[2]
    assert {name for name in CLASS_NAMES if horse_and_person[COLUMN[name]] == POSITIVE} == {"horse", "person"}
    assert (source.expected_positives, source.flip, source.image_size) == (1.5, True, 448)


def test_difficult_is_negative_by_default(make_voc: Make) -> None:
    source = Voc2007().read(make_voc())
    assert source.train.truth[1, COLUMN["person"]] == NEGATIVE
    assert source.test.truth[1, COLUMN["car"]] == NEGATIVE
    assert (source.test.truth != UNKNOWN).all()


def test_ignored_difficult_is_unknown_in_test_only(make_voc: Make) -> None:
    root = make_voc()
    source = Voc2007(difficult="ignore").read(root)
    assert (source.train.truth != UNKNOWN).all()
    assert source.test.truth[1, COLUMN["car"]] == UNKNOWN
    assert source.test.truth[2, COLUMN["person"]] == UNKNOWN
    assert (source.test.truth == UNKNOWN).sum() == 2
    assert source.digest != Voc2007().read(root).digest


@pytest.mark.parametrize("difficult", ["negative", "ignore"])
def test_2012_leaves_out_images_without_a_positive(make_voc: Make, difficult: str) -> None:
    source = Voc2012(difficult=difficult).read(make_voc("2012", "train", "val"))  # type: ignore[arg-type]
    assert source.test.ids == ["000001", "000002"]


def test_lists_can_be_chosen(make_voc: Make) -> None:
    root = make_voc("2012", "trainval", "test")
    assert len(Voc2012(train_list="trainval", test_list="test").read(root).train) == 5


def test_overlapping_lists_are_refused(make_voc: Make) -> None:
    with pytest.raises(DataError, match="share 5 images, for example '000005'"):
        Voc2007(train_list="trainval", test_list="trainval").read(make_voc())


def test_no_root() -> None:
    with pytest.raises(DataError, match=r"data\.root: data set 'voc2007' needs the folder that holds VOCdevkit"):
        Voc2007().read(None)


def test_misspelt_root_names_the_nearest(make_voc: Make) -> None:
    root = make_voc()
    with pytest.raises(DataError, match="is not a folder.*did you mean '.*VOCdevkit'"):
        Voc2007().read(root / "VOCdevkitt")


def test_wrong_year_says_which_is_there(make_voc: Make) -> None:
    with pytest.raises(DataError, match=r"found no VOC2012 .*looked for .*Main.*it has VOC2007.*voc2007"):
        Voc2012().read(make_voc())


def test_folder_that_is_no_voc(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found no VOC2007 under .*looked for .*VOCdevkit/VOC2007/ImageSets/Main"):
        Voc2007().read(tmp_path)


def test_missing_class_file_is_named(make_voc: Make) -> None:
    root = make_voc()
    (main_folder(root) / "sofa_test.txt").unlink()
    with pytest.raises(DataError, match=r"sofa_test\.txt: cannot be read \(No such file"):
        Voc2007().read(root)


def test_image_that_is_listed_but_absent_is_named(make_voc: Make) -> None:
    root = make_voc()
    (root / "VOCdevkit/VOC2007/JPEGImages/000009.jpg").unlink()
    with pytest.raises(DataError, match=r"000009\.jpg: there is no such image, but .*lists it \(1 of 5"):
        Voc2007().read(root)


def test_no_image_folder_at_all(make_voc: Make) -> None:
    root = make_voc()
    (root / "VOCdevkit/VOC2007/JPEGImages").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"5 of 5 images are missing; .*JPEGImages is not a folder"):
        Voc2007().read(root)


def test_class_files_of_different_length(make_voc: Make) -> None:
    root = make_voc()
    path = main_folder(root) / "dog_trainval.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=r"dog_trainval\.txt: lists 4 images, but .*aeroplane_trainval\.txt lists 5"):
        Voc2007().read(root)


def test_class_files_of_different_order(make_voc: Make) -> None:
    root = make_voc()
    path = main_folder(root) / "dog_trainval.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"dog_trainval\.txt: line 1 is image '000016', but .*has '000009' there"):
        Voc2007().read(root)


def test_list_that_disagrees_with_the_class_files(make_voc: Make) -> None:
    root = make_voc()
    (main_folder(root) / "test.txt").write_text("000001\n000002\n000003\n")
    with pytest.raises(DataError, match=r"test\.txt: line 3 is image '000003'"):
        Voc2007().read(root)


@pytest.mark.parametrize("line", ["000009", "000009 2", "000009 1 1", "000009 yes"])
def test_malformed_line_is_shown(make_voc: Make, line: str) -> None:
    root = make_voc()
    path = main_folder(root) / "cat_trainval.txt"
    path.write_text(line + "\n" + path.read_text().partition("\n")[2])
    with pytest.raises(DataError, match=rf"cat_trainval\.txt: line 1 must be .* got '{line}'"):
        Voc2007().read(root)


def test_image_that_is_listed_twice(make_voc: Make) -> None:
    root = make_voc()
    path = main_folder(root) / "aeroplane_trainval.txt"
    path.write_text(path.read_text() + "000005 -1\n")
    with pytest.raises(DataError, match="lists '000005' more than once"):
        Voc2007().read(root)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81"])
def test_empty_or_binary_list(make_voc: Make, content: bytes) -> None:
    root = make_voc()
    (main_folder(root) / "aeroplane_test.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"aeroplane_test\.txt: is (empty|not a text file)"):
        Voc2007().read(root)


@pytest.mark.data
def test_real_voc2007_part(shared_data: Path) -> None:
    source = Voc2007().read(shared_data / "data" / "voc2007_part")
    assert (len(source.train), len(source.test)) == (1549, 782)
    assert len(Voc2007(train_list="train", test_list="val").read(shared_data / "data" / "voc2007_part").train) == 933


@pytest.mark.data
def test_real_voc2012_animals(shared_data: Path) -> None:
    source = Voc2012().read(shared_data / "data" / "voc2012_animals")
    assert (len(source.train), len(source.test)) == (600, 600)
    both = (source.train.truth == POSITIVE).sum(axis=0) + (source.test.truth == POSITIVE).sum(axis=0)
    assert both[COLUMN["dog"]] == 500
    assert both[COLUMN["aeroplane"]] == 0
