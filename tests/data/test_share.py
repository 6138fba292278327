"""Shares of a batch: they are all of it, and each example is augmented alike in whatever share it lies."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from plml.data.augment import contrastive_views, crop, cutout
from plml.data.randaugment import rand_augment
from plml.data.share import Share
from plml.data.source_images import SourceImages


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 3), (1, 2), (2, 5), (64, 1)])
def test_shares_are_the_batch(count: int, size: int) -> None:
    shares = [Share.of_rank(count, rank, size) for rank in range(size)]
    places = [place for share in shares for place in range(share.start, share.stop)]
    assert places == list(range(count))
    lengths = list(map(len, shares))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_what_was_drawn_view_by_view() -> None:
    share = Share.of_rank(5, 1, 2)  # the last two of five
    assert share.of(torch.arange(15)).tolist() == [3, 4, 8, 9, 13, 14]
    assert share.of(torch.arange(10).view(2, 5), dim=1).tolist() == [[3, 4], [8, 9]]
    whole = torch.arange(10)
    assert Share.all_of(5).of(whole) is whole


def photos() -> Tensor:
    return torch.randint(0, 256, (7, 3, 24, 20), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


CHANGES: dict[str, Callable[[Tensor, Share], Tensor]] = {
    "crop": lambda images, share: crop(images.float(), 0.3, share),
    "cutout": lambda images, share: cutout(images, 0.5, share),
    "randaugment": rand_augment,
    "views": lambda images, share: contrastive_views(images, 2, share=share).transpose(0, 1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [2, 3, 9])
def test_an_example_is_augmented_alike_in_every_share(change: str, size: int) -> None:
    images = photos()
    torch.manual_seed(1)
    whole, state = CHANGES[change](images, Share.all_of(len(images))), torch.get_rng_state()
    parts = []
    for rank in range(size):  # nine processes for seven images: two have none
        share = Share.of_rank(len(images), rank, size)
        torch.manual_seed(1)
        parts.append(CHANGES[change](images[share.start : share.stop], share))
        assert torch.equal(torch.get_rng_state(), state)  # what is drawn next is the same everywhere
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-3 if change == "crop" else 0)


@pytest.mark.parametrize("size", [2, 5])
def test_crops_of_photos_are_those_of_the_whole_batch(size: int) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 40, (3, 2))
    lengths = sizes.prod(axis=1) * 3
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    photos = SourceImages(rng.integers(0, 256, offsets[-1], dtype=np.uint8), offsets, sizes)
    rows, device = np.array([2, 0, 1]), torch.device("cpu")
    torch.manual_seed(5)
    whole, state = photos.random_crops(rows, 0.3, 16, device), torch.get_rng_state()
    parts = []
    for rank in range(size):
        torch.manual_seed(5)
        parts.append(photos.random_crops(rows, 0.3, 16, device, Share.of_rank(3, rank, size)))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.cat(parts), whole)
