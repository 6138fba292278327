"""Batches read for many steps at once are the batches that each step would read."""

import pytest
import torch

from plml import stacked_batches
from plml.stacked_state import runs_of

COUNT, WIDTH, CLASSES = 23, 3, 4
FEATURES = torch.arange(COUNT * WIDTH, dtype=torch.float32).view(COUNT, WIDTH)
OBSERVED = torch.arange(COUNT * CLASSES, dtype=torch.int16).view(COUNT, CLASSES)


@pytest.mark.parametrize("chunk", [1, 700, 10**9])
@pytest.mark.parametrize("keys", [("a",), ("a", "a", "b"), ("a", "b", "a", "a")])
@pytest.mark.parametrize(("size", "steps"), [(5, 5), (5, 4), (1, 23), (40, 1)])
def test_every_step_has_its_examples(
    chunk: int, keys: tuple[str, ...], size: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked_batches, "CHUNK_BYTES", chunk)
    orders = {key: torch.randperm(COUNT, generator=torch.Generator().manual_seed(ord(key))) for key in set(keys)}
    sharing = runs_of(list(enumerate(keys)))
    found = list(stacked_batches.stacked_batches(FEATURES, OBSERVED, orders, sharing, size, steps))
    assert len(found) == steps
    for number, batch in enumerate(found):
        places = slice(number * size, (number + 1) * size)
        for (_, _, key), inputs in zip(sharing, batch.inputs, strict=True):
            assert torch.equal(inputs, FEATURES[orders[key][places]])
        expected = torch.stack([orders[key][places] for key in keys])
        assert torch.equal(batch.index, expected)
        assert torch.equal(batch.observed, OBSERVED[expected])
        assert batch.index.is_contiguous()
        assert batch.observed.is_contiguous()
