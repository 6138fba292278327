"""Ranks of positives against counting one by one; every kind of number; both ways of sorting and searching."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plml import ranks
from plml.metrics import average_precision
from plml.ranks import rank_positives, row_sums

quiet = settings(deadline=None, max_examples=60)
SPECIAL = [-math.inf, -1.0, -0.0, 0.0, 1e-45, 1.0, 3.4e38, math.inf]


@st.composite
def rows(draw):
    """Scores (K, R, N) of few different values, infinite ones among them, with positive and known entries (R, N)."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = torch.tensor(rng.choice(SPECIAL, shape), dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    known = torch.tensor(rng.random(shape[1:]) < draw(st.sampled_from([0.5, 1.0])))
    return scores, torch.tensor(rng.random(shape[1:]) < draw(st.sampled_from([0.0, 0.3, 1.0]))) & known, known


def counted(row, positive, known):
    """(hits, above) of every positive of one row, sorted, by comparing it with every entry."""
    pairs = []
    for own in row[positive]:
        at_least = (row >= own) & known
        pairs.append(((at_least & positive).sum().item(), at_least.sum().item()))
    return sorted(pairs)


@quiet
@given(rows(), st.booleans())
def test_ranks_are_those_counted_one_by_one(table, leave_out):
    scores, positive, known = table
    everything = torch.ones_like(known)
    found = rank_positives(scores, positive, known if leave_out else None)
    taken = found.taken.expand(found.hits.shape)
    for k, r in np.ndindex(*scores.shape[:2]):
        expected = counted(scores[k, r], positive[r], known[r] if leave_out else everything[r])
        hits, above = (values[k, r][taken[k, r]].tolist() for values in (found.hits, found.above))
        assert sorted(zip(hits, above, strict=True)) == expected
        assert found.positives[r] == len(expected)
    assert not found.broken.any()


@pytest.mark.parametrize("known", [False, True])
def test_numpys_and_pytorchs_search_agree(monkeypatch, known):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 50, (3, 4, 600), generator=generator) / 7
    positive = torch.rand(4, 600, generator=generator) < torch.tensor([[0.0], [0.1], [0.6], [1.0]])
    seen = positive | (torch.rand(4, 600, generator=generator) < 0.7) if known else None
    found = []
    for many in (0, 10_000):
        monkeypatch.setattr(ranks, "MANY", many)
        found.append(rank_positives(scores, positive, seen))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_without_numpy_the_figures_are_the_same(monkeypatch):
    """What other devices do: PyTorch sorts and searches, and no width is read from the device."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randint(0, 9, (2, 50, 5), generator=generator) / 3
    target = torch.randint(-1, 2, (50, 5), generator=generator, dtype=torch.int8)
    expected = [average_precision(scores, target, known_only=known) for known in (False, True)]
    monkeypatch.setattr(ranks, "_numpy_serves", lambda values: False)
    found = [average_precision(scores, target, known_only=known) for known in (False, True)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_other_types_rank_as_the_numbers_they_are(dtype):
    generator = torch.Generator().manual_seed(4)
    scores = torch.randint(0, 200, (40, 3), generator=generator).to(dtype)
    target = torch.randint(0, 2, (40, 3), generator=generator, dtype=torch.int8)
    assert torch.equal(average_precision(scores, target), average_precision(scores.double(), target))


def test_whole_numbers_are_not_rounded():
    scores = torch.tensor([[2**53 - 1], [2**53 - 2]])
    assert average_precision(scores, torch.tensor([[1], [0]])).item() == 1.0


def test_scores_are_left_as_they_are():
    scores = torch.randn(1, 30, requires_grad=True).T  # contiguous as (L, N), so a careless sort would be in place
    before = scores.detach().clone()
    average_precision(scores, torch.randint(0, 2, (30, 1)))
    assert torch.equal(scores.detach(), before)


def test_a_nan_breaks_its_row_only_and_only_where_it_counts():
    scores = torch.tensor([[math.nan, 1.0, 0.0], [2.0, 1.0, 0.0], [math.nan, 1.0, 0.0]])
    positive = torch.tensor([[False, True, False]] * 3)
    known = torch.tensor([[True] * 3, [True] * 3, [False, True, True]])
    found = rank_positives(scores, positive, known)
    assert found.broken.tolist() == [True, False, False]
    assert found.precision()[1:].tolist() == [1 / 2, 1.0]
    assert found.precision()[0].isnan()


def test_row_sums_do_not_depend_on_company():
    """A single sum of many numbers is cut in parts for threads; it must not be when others are not."""
    values = torch.rand(3, 200_001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = row_sums(values)
        assert [row_sums(row).item() for row in values] == together.tolist()
        assert [row_sums(row[None]).item() for row in values] == together.tolist()
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(together, values.numpy().sum(1), rtol=1e-13)
