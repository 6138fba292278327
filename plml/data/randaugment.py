"""RandAugment on whole batches: two random changes an image, all of one strength.

Cubuk et al., RandAugment, arXiv:1909.13719, as torchvision's ``v2.RandAugment()`` and the scripts of ASL, CSL, Hill
and SPLC use it: 2 changes of 14, strength 9 of 30, either sign.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from plml.data.groups import Change, change_in_groups, for_all
from plml.data.photometric import brightness, contrast, saturation, sharpness
from plml.data.share import Share

NUM_CHANGES = 2
STRENGTH = 9 / 30
NAMES = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
_GEOMETRIC = range(1, 6)  # one group: they differ by their matrices alone
_LIMITS = {"shear": 0.3, "translate": 150 / 331, "rotate": 30.0, "colour": 0.9}  # at full strength
_BITS = 8 - 4 * STRENGTH  # that Posterize keeps, to be rounded
_SOLARIZE = 255 * (1 - STRENGTH)  # from here on Solarize inverts


def rand_augment(images: Tensor, share: Share | None = None) -> Tensor:
    """Return uint8 images (B, 1 or 3, H, W), each changed twice at random; drawn from torch's default CPU generator."""
    share = Share.all_of(len(images)) if share is None else share
    changed = images.clone()
    for _ in range(NUM_CHANGES):
        names = torch.randint(len(NAMES), (share.whole,))
        signs = torch.where(torch.rand(share.whole) <= 0.5, -1.0, 1.0)
        apply_changes(changed, share.of(names), share.of(signs))
    return changed


def apply_changes(images: Tensor, names: Tensor, signs: Tensor) -> None:
    """Change each image in place.

    Args:
        images: (B, 1 or 3, H, W) uint8, on any device.
        names: (B,) int64, positions in ``NAMES``, on the CPU.
        signs: (B,) -1 or 1, the direction of changes that have one, on the CPU.
    """
    height, width = images.shape[2:]
    thetas = _matrices(names, signs, height, width).to(images.device, non_blocking=True)
    factors = (1 + signs * STRENGTH * _LIMITS["colour"]).to(images.device, torch.float32, non_blocking=True)

    def move(chosen: Tensor, rows: Tensor) -> Tensor:
        return affine(chosen, thetas.index_select(0, rows))

    def by_factor(function: Change) -> Change:
        return lambda chosen, rows: function(chosen, factors.index_select(0, rows))

    # The geometric ones share a group, which therefore stands at the place of the first.
    groups = torch.where((names >= _GEOMETRIC.start) & (names < _GEOMETRIC.stop), _GEOMETRIC.start, names)
    coloured = [by_factor(function) for function in (brightness, saturation, contrast, sharpness)]
    fixed = map(for_all, (_posterize, _solarize, _auto_contrast, _equalize))
    change_in_groups(images, groups, [None, move, *[None] * (len(_GEOMETRIC) - 1), *coloured, *fixed])


def affine(images: Tensor, thetas: Tensor) -> Tensor:
    """Return uint8 images, each seen through its matrix: nearest pixel, black beyond the border.

    Args:
        images: (B, C, H, W).
        thetas: (B, 2, 3), from a result's pixel to the image's, both in pixels from the centre.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    base = torch.stack([x.expand(height, width), y[:, None].expand(height, width), x.new_ones(height, width)], dim=-1)
    grid = base.view(1, -1, 3) @ thetas.transpose(1, 2)  # (B, H * W, 2)
    grid = torch.stack([grid[..., 0] / (width / 2), grid[..., 1] / (height / 2)], dim=-1)
    grid = grid.view(-1, height, width, 2)
    return F.grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False).to(
        torch.uint8
    )


def _matrices(names: Tensor, signs: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 2, 3) float32: the inverse of each geometric change, the identity for the others."""
    amount = (signs * STRENGTH).double()
    theta = torch.zeros(len(names), 2, 3, dtype=torch.float64)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    shear = amount * _LIMITS["shear"]
    # Shears keep the top left corner of the picture: torchvision's centre [0, 0].
    for name, row in (("ShearX", 0), ("ShearY", 1)):
        chosen = names == NAMES.index(name)
        theta[chosen, row, 1 - row] = shear[chosen]
        theta[chosen, row, 2] = shear[chosen] * (height if row == 0 else width) / 2
    for name, row, side in (("TranslateX", 0, width), ("TranslateY", 1, height)):
        chosen = names == NAMES.index(name)
        theta[chosen, row, 2] = -(amount[chosen] * _LIMITS["translate"] * side).trunc()
    chosen = names == NAMES.index("Rotate")
    angle = amount[chosen] * math.radians(_LIMITS["rotate"])
    theta[chosen, 0, 0] = theta[chosen, 1, 1] = angle.cos()
    theta[chosen, 0, 1], theta[chosen, 1, 0] = -angle.sin(), angle.sin()
    return theta.float()


def _posterize(images: Tensor) -> Tensor:
    dropped = 2 ** (8 - round(_BITS))
    return images.bitwise_and(256 - dropped)


def _solarize(images: Tensor) -> Tensor:
    return torch.where(images >= _SOLARIZE, 255 - images, images)


def _auto_contrast(images: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import autocontrast

    return autocontrast(images)


def _equalize(images: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import equalize

    return equalize(images)
