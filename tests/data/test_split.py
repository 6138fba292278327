import numpy as np
import pytest

from plml.data.split import split_rows, subsample_rows
from plml.errors import ConfigError


def test_split_is_sorted_disjoint_and_complete() -> None:
    train, val = split_rows(101, 0.2, 1200)
    assert (len(train), len(val)) == (81, 20)
    assert sorted([*train, *val]) == list(range(101))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert train.dtype == val.dtype == np.int64


@pytest.mark.parametrize(("count", "fraction", "num_val"), [(10, 0.25, 2), (14, 0.25, 4), (25, 0.1, 2)])
def test_half_is_rounded_to_even(count: int, fraction: float, num_val: int) -> None:
    assert len(split_rows(count, fraction, 0)[1]) == num_val


def test_split_follows_numpy_permutation() -> None:
    order = np.random.RandomState(7).permutation(8)
    train, val = split_rows(8, 0.25, 7)
    assert train.tolist() == sorted(order[:6])
    assert val.tolist() == sorted(order[6:])


@pytest.mark.parametrize(("count", "fraction"), [(4, 0.1), (1, 0.9), (2, 0.99)])
def test_empty_split_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.val_fraction.*at least 1"):
        split_rows(count, fraction, 0)


def test_subsample_draws_train_first_from_one_stream() -> None:
    train, val = np.arange(10), np.arange(10, 20)
    rng = np.random.RandomState(999)
    first, second = rng.permutation(10)[:5], rng.permutation(10)[:3]
    kept_train, kept_val = subsample_rows(train, val, train_fraction=0.5, val_fraction=0.3, seed=999)
    assert kept_train.tolist() == sorted(first)
    assert kept_val.tolist() == sorted(second + 10)


def test_subsample_of_everything_changes_nothing() -> None:
    train, val = subsample_rows(np.array([3, 5, 8]), np.array([1, 2]))
    assert (train.tolist(), val.tolist()) == ([3, 5, 8], [1, 2])


def test_empty_subsample_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.subsample_val: 0\.1 of 3 examples leaves none"):
        subsample_rows(np.arange(20), np.arange(3), val_fraction=0.1)
