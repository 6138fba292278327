import hashlib

import numpy as np
import pytest

from plml.config import DataConfig
from plml.data.digits import (
    COUNT_PROBABILITIES,
    GROUPS,
    Digits,
    affinity,
    co_occurrence,
    enlarge,
    expected_positives,
    partition_digits,
    source_digits,
)
from plml.data.source import Source
from plml.errors import ConfigError
from plml.labels import POSITIVE


@pytest.fixture(scope="module")
def source() -> Source:
    return Digits(num_train=3000, num_val=40, num_test=60).read(None)


def test_shapes_and_types(source: Source) -> None:
    assert source.val is not None
    for part, size in ((source.train, 3000), (source.val, 40), (source.test, 60)):
        assert part.images is not None
        assert part.images.shape == (size, 40, 40, 1)
        assert part.images.dtype == np.uint8
        assert part.truth.shape == (size, 10)
        assert set(np.unique(part.truth)) == {0, 1}
        assert len(set(part.ids)) == size
    assert not source.flip
    assert source.expected_positives == expected_positives() == pytest.approx(3.49)


def test_source_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    images, classes = source_digits()
    np.testing.assert_array_equal(images, load_digits().images)
    np.testing.assert_array_equal(classes, load_digits().target)


def test_source_digits_of_the_parts_are_disjoint_and_cover_every_class() -> None:
    images, classes = source_digits()
    parts = partition_digits(classes, scene_seed=0)
    assert sorted(np.concatenate(parts)) == list(range(len(classes)))
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
    for rows in parts:
        assert set(classes[rows]) == set(range(10))
    # Not one picture of one part is the copy of a picture in another.
    pictures = [{images[row].tobytes() for row in rows} for rows in parts]
    assert not pictures[0] & pictures[1]
    assert not pictures[0] & pictures[2]
    assert not pictures[1] & pictures[2]


def test_same_seed_same_bytes_and_other_seed_other_bytes(source: Source) -> None:
    from plml.data.digits import _compose

    def sha(of: Source) -> str:
        assert of.test.images is not None
        return hashlib.sha256(of.test.images.tobytes() + of.test.truth.tobytes()).hexdigest()

    _compose.cache_clear()
    again = Digits(num_train=10, num_val=10, num_test=60).read(None)
    assert sha(again) == sha(source)  # a part does not depend on the size of another
    other = Digits(num_train=10, num_val=10, num_test=60, scene_seed=1).read(None)
    assert sha(other) != sha(source)
    assert len({source.digest, again.digest, other.digest}) == 3
    assert Digits(num_train=10, num_val=10, num_test=60, canvas=36).read(None).digest != again.digest


def test_pixels_are_the_same_on_every_machine() -> None:
    images = Digits(num_train=50, num_val=1, num_test=1).read(None).train.images
    assert images is not None
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "f3794ebca5580bc7"


def test_co_occurrence_is_what_the_scenes_show(source: Source) -> None:
    joint = co_occurrence()
    assert np.trace(joint) == pytest.approx(expected_positives())
    np.testing.assert_allclose(joint, joint.T)
    positives = (source.train.truth == POSITIVE).astype(float)
    seen = positives.T @ positives / len(positives)
    deviation = np.sqrt(joint * (1 - joint) / len(positives))
    assert (np.abs(seen - joint) < 4.5 * deviation).all()
    counts = np.bincount(positives.sum(axis=1).astype(int), minlength=6) / len(positives)
    np.testing.assert_allclose(counts, COUNT_PROBABILITIES, atol=0.04)


def test_groups_are_a_structure_worth_learning() -> None:
    joint = co_occurrence()
    lift = joint / np.outer(np.diag(joint), np.diag(joint))
    same = np.zeros((10, 10), dtype=bool)
    for group in GROUPS:
        same[np.ix_(group, group)] = True
    off_diagonal = ~np.eye(10, dtype=bool)
    assert lift[same & off_diagonal].min() > 1.5 * lift[~same].mean()
    assert (affinity() == affinity().T).all()


def test_some_scenes_are_empty_and_all_scenes_have_noise(source: Source) -> None:
    empty = (source.train.truth == POSITIVE).sum(axis=1) == 0
    assert 0.01 < empty.mean() < 0.06
    assert source.train.images is not None
    assert source.train.images.reshape(3000, -1).std(axis=1).min() > 1


def test_enlarging_keeps_constant_pictures_and_interpolates() -> None:
    np.testing.assert_array_equal(enlarge(np.full((8, 8), 16), 13), np.full((13, 13), 16))
    ramp = np.tile(np.arange(8) * 100, (8, 1))
    wide = enlarge(ramp, 16)
    assert (np.diff(wide[0]) >= 0).all()
    assert wide[0, 7] == 325  # a quarter of the way from 300 to 400... pixel 7.5 / 2 - 0.5 = 3.25


@pytest.mark.parametrize("options", [{"canvas": 8}, {"num_train": 0}, {"scene_seed": -1}, {"size": 3}])
def test_options_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        DataConfig(name="digits", options=options)
