"""Random changes of training images beyond the flip, on whole batches and on their device.

Sources: RandomResizedCrop (CoNeS, CSRA); RandAugment (Cubuk et al., arXiv:1909.13719) and Cutout (DeVries and Taylor,
arXiv:1708.04552) in the scripts of ASL, CSL, Hill and SPLC; the contrastive views of SimCLR (Chen et al.,
arXiv:2002.05709) as in MoCo v2. Everything random comes from torch's default CPU generator, which a trainer seeds
for each epoch. Where the images are a share of a batch, numbers are drawn for the whole batch.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from plml.config import DataConfig
from plml.data.groups import change_in_groups, for_all
from plml.data.photometric import brightness, contrast, hue, saturation, to_grey
from plml.data.randaugment import rand_augment
from plml.data.resample import RATIOS, TRIES, draw_boxes, resized_boxes
from plml.data.share import Share

VIEW_SCALE = 0.2  # smallest area share of a view's crop
JITTER, HUE = 0.4, 0.1  # of brightness, contrast and saturation around 1; of a turn of the colour circle
BLUR = (0.1, 2.0)  # standard deviation in pixels


def augment_pixels(images: Tensor, config: DataConfig, share: Share | None = None) -> Tensor:
    """Apply Cutout, then RandAugment, as far as ``config`` asks, to uint8 images (B, C, H, W); each drawn alone."""
    if config.cutout is not None:
        images = cutout(images, config.cutout, share)
    if config.randaugment:
        images = rand_augment(images, share)
    return images


def crop(inputs: Tensor, min_scale: float, share: Share | None = None) -> Tensor:
    """Cut a random box out of each image (B, C, H, W) float and stretch it to the same size, bilinear.

    A box has an area share in [``min_scale``, 1] and a ratio of sides in [3/4, 4/3], as torchvision's
    RandomResizedCrop draws it, on the image at hand: a square that the whole picture was resized to. Boxes that do
    not fit after ten tries are the whole image.
    """
    share = Share.all_of(len(inputs)) if share is None else share
    count = share.whole
    area = torch.empty(TRIES, count).uniform_(min_scale, 1.0)
    ratio = torch.empty(TRIES, count).uniform_(math.log(RATIOS[0]), math.log(RATIOS[1])).exp()
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()  # shares of the sides
    fits = (width <= 1) & (height <= 1)
    first = fits.float().argmax(dim=0)  # the first try that fits
    rows = torch.arange(count)
    width = torch.where(fits.any(dim=0), width[first, rows], 1.0)
    height = torch.where(fits.any(dim=0), height[first, rows], 1.0)
    left, top = torch.rand(count) * (1 - width), torch.rand(count) * (1 - height)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
    if not len(share):  # no grid is made of no images
        return inputs
    theta = share.of(theta)
    grid = F.affine_grid(theta.to(inputs.device), list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid.to(inputs.dtype), padding_mode="border", align_corners=False)


def cutout(images: Tensor, side: float, share: Share | None = None) -> Tensor:
    """Paint a square of a random colour, its side ``side`` of the image's, centred anywhere, on each uint8 image."""
    share = Share.all_of(len(images)) if share is None else share
    count, (channels, height, width) = share.whole, images.shape[1:]
    half_h, half_w = side * height / 2, side * width / 2
    y, x = torch.rand(count, 1, 1) * height, torch.rand(count, 1, 1) * width
    colour = torch.randint(0, 256, (count, channels, 1, 1), dtype=torch.uint8)
    rows, columns = torch.arange(height).view(1, -1, 1) + 0.5, torch.arange(width).view(1, 1, -1) + 0.5
    inside = ((rows - share.of(y)).abs() < half_h) & ((columns - share.of(x)).abs() < half_w)  # (B, H, W)
    return torch.where(inside[:, None].to(images.device), share.of(colour).to(images.device), images)


def contrastive_views(images: Tensor, count: int, *, flip: bool = True, share: Share | None = None) -> Tensor:
    """Return ``count`` independent SimCLR views (V, B, C, H, W) uint8 of uint8 images (B, C, H, W).

    Crop of 0.2 to 1 of the area, flip, colour jitter (0.4, 0.4, 0.4, 0.1) with probability 0.8, grey with 0.2, blur
    of radius 0.1 to 2 pixels with 0.5. Images of other than 3 channels keep their colours, and without ``flip``
    nothing is mirrored.
    """
    share = Share.all_of(len(images)) if share is None else share
    size = (images.shape[2], images.shape[3])
    total = count * share.whole
    boxes = share.of(draw_boxes(torch.full((total,), size[0]), torch.full((total,), size[1]), VIEW_SCALE))
    views = resized_boxes(images.repeat(count, 1, 1, 1), boxes, size)
    if flip:
        views = mirror(views, share.of(torch.rand(total) < 0.5).to(images.device, non_blocking=True))
    if images.shape[1] == 3:
        _jitter(views, total, share)
        change_in_groups(views, share.of((torch.rand(total) < 0.2).long()), [None, for_all(to_grey)])
    radius = share.of(torch.empty(total).uniform_(*BLUR)).to(images.device, non_blocking=True)
    change_in_groups(
        views,
        share.of((torch.rand(total) < 0.5).long()),
        [None, lambda chosen, rows: blur(chosen, radius.index_select(0, rows))],
    )
    return views.unflatten(0, (count, len(share)))


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """Return images (B, C, H, W) with those where ``flips`` (B,) bool holds mirrored left to right.

    Mirroring bytes before they are normalised moves a quarter of the memory that mirroring floats does, with the same
    result.
    """
    if images.device.type != "cpu" or not len(images):
        return torch.where(flips[:, None, None, None], images.flip(-1), images)
    mirrored = torch.empty_like(images)
    for place, image, flip in zip(mirrored.split(1), images.split(1), flips.tolist(), strict=True):
        place.copy_(image.flip(-1) if flip else image)  # one image at a time stays in the processor's cache
    return mirrored


def blur(images: Tensor, radius: Tensor) -> Tensor:
    """Blur uint8 images (B, C, H, W) by a Gaussian of standard deviation ``radius`` (B,) pixels, mirrored at the edges.

    Its window is a tenth of the shorter side, as SimCLR's, but not more than six of the largest deviations to each
    side: what lies beyond weighs 1e-8.
    """
    count, channels, height, width = images.shape
    reach = min(math.ceil(0.05 * min(height, width)), math.ceil(6 * BLUR[1]), min(height, width) - 1)
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    taps = (-((offsets / radius[:, None]) ** 2) / 2).softmax(dim=1).repeat_interleave(channels, dim=0)  # (B * C, K)
    planes = images.float().reshape(1, count * channels, height, width)
    padded = F.pad(planes, (reach, reach, reach, reach), mode="reflect")
    with torch.autocast(images.device.type, enabled=False):
        down = F.conv2d(padded, taps[:, None, :, None], groups=count * channels)
        across = F.conv2d(down, taps[:, None, None, :], groups=count * channels)
    return across.view(images.shape).round_().clamp_(0, 255).to(torch.uint8)


def _jitter(images: Tensor, count: int, share: Share) -> None:
    """Change brightness, contrast, saturation and hue in place, in random order, with probability 0.8.

    ``images`` are those of ``share`` among ``count`` that numbers are drawn for.
    """
    drawn = torch.empty(3, count).uniform_(1 - JITTER, 1 + JITTER)
    factors = share.of(torch.cat([drawn, torch.empty(1, count).uniform_(-HUE, HUE)]), dim=1)
    factors = factors.to(images.device, non_blocking=True)
    changed = share.of(torch.rand(count) < 0.8)
    order = share.of(torch.rand(4, count).argsort(dim=0), dim=1)  # (4, B): which change comes at which place
    functions = (brightness, contrast, saturation, hue)
    changes = [
        lambda chosen, rows, function=function, factor=factor: function(chosen, factor.index_select(0, rows))
        for function, factor in zip(functions, factors, strict=True)
    ]
    for which in order:
        change_in_groups(images, torch.where(changed, which, len(functions)), [*changes, None])
