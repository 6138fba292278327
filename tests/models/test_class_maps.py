"""Class maps of every head: their mean over positions is the logit."""

import pytest
import torch

from plml.models.heads import HEADS
from plml.models.heads.boostlu import BoostLUHead
from plml.models.heads.csra import CSRAHead
from plml.models.heads.linear import LinearHead

MAPS = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_the_mean_over_positions_is_the_logit(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](6, 4).double()
    maps = head.class_maps(MAPS)
    assert maps.shape == (3, 4, 4, 5)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), head(MAPS).logits)
    torch.testing.assert_close(head.class_maps(MAPS[:, :, 0, 0])[..., 0, 0], head(MAPS[:, :, 0, 0]).logits)


@pytest.mark.parametrize("num_heads", [2, 4, 8])
def test_every_head_and_temperature_of_csra_is_in_its_map(num_heads: int) -> None:
    torch.manual_seed(0)
    head = CSRAHead(6, 4, num_heads=num_heads, lam=0.7).double()  # type: ignore[arg-type]
    torch.testing.assert_close(head.class_maps(MAPS).mean(dim=(2, 3)), head(MAPS).logits)


def test_boost_multiplies_what_is_positive() -> None:
    torch.manual_seed(0)
    plain, boosted = LinearHead(6, 4).double(), BoostLUHead(6, 4, alpha=5.0).double()
    boosted.load_state_dict(plain.state_dict())
    before, after = plain.class_maps(MAPS), boosted.class_maps(MAPS)
    torch.testing.assert_close(after[before > 0], 5.0 * before[before > 0])
    torch.testing.assert_close(after[before <= 0], before[before <= 0])
