"""Changes of whole batches against torchvision's on single images, with the same parameters."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from plml.data.augment import blur, mirror
from plml.data.groups import change_in_groups
from plml.data.photometric import brightness, contrast, hue, saturation, sharpness, to_grey
from plml.data.randaugment import NAMES, STRENGTH, apply_changes
from plml.data.resample import draw_boxes, multiplied, resized_boxes, triangle_weights

HEIGHT, WIDTH = 44, 60


def photos(count=5, height=HEIGHT, width=WIDTH, channels=3):
    """Smooth colours with a little noise, uint8."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, channels, 4, 5, generator=generator) * 235
    smooth = torch.nn.functional.interpolate(corners, size=(height, width), mode="bicubic").clamp(0, 235)
    return (smooth + torch.rand(smooth.shape, generator=generator) * 20).to(torch.uint8)


def furthest(a, b):
    return int((a.int() - b.int()).abs().max())


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (brightness, tv.adjust_brightness, [0.6, 0.9, 1.0, 1.3, 1.4]),
        (contrast, tv.adjust_contrast, [0.6, 0.9, 1.0, 1.3, 1.4]),
        (saturation, tv.adjust_saturation, [0.6, 0.9, 1.0, 1.3, 1.4]),
        (sharpness, tv.adjust_sharpness, [0.1, 0.7, 1.0, 1.3, 1.9]),
        (hue, tv.adjust_hue, [-0.5, -0.1, 0.0, 0.07, 0.4]),
    ],
)
def test_each_image_by_its_own_factor(ours, theirs, values):
    images = photos()
    expected = torch.stack([theirs(image, value) for image, value in zip(images, values, strict=True)])
    assert furthest(ours(images, torch.tensor(values)), expected) <= 1
    assert not torch.equal(expected, images)


def test_hue_of_grey_and_pure_colours():
    colours = torch.tensor([[128, 128, 128], [0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    images = colours.to(torch.uint8)[:, :, None, None].expand(-1, -1, 3, 3)
    turned = hue(images, torch.full((6,), 1 / 3))
    expected = colours[[0, 1, 2, 4, 5, 3]]  # red becomes green, green blue, blue red
    assert furthest(turned[:, :, 1, 1], expected) <= 1


def test_grey():
    images = photos()
    assert torch.equal(to_grey(images), tv.rgb_to_grayscale(images, 3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_randaugment_is_torchvisions_on_each_image(channels, sign):
    """All 14 changes at once, one image each, against v2.RandAugment's own application at strength 9 of 30."""
    from torchvision.transforms import v2

    reference = v2.RandAugment()
    images = photos(len(NAMES), channels=channels)
    ours = images.clone()
    apply_changes(ours, torch.arange(len(NAMES)), torch.full((len(NAMES),), sign))
    for place, name in enumerate(NAMES):
        magnitudes, signed = reference._AUGMENTATION_SPACE[name]
        table = magnitudes(31, HEIGHT, WIDTH)
        amount = 0.0 if table is None else float(table[9]) * (sign if signed else 1)
        expected = reference._apply_image_or_video_transform(
            images[place], name, amount, interpolation=reference.interpolation, fill=reference._fill
        )
        apart = (ours[place].int() - expected.int()).abs()
        if name in ("ShearX", "ShearY", "Rotate"):  # a coordinate between two pixels may round to either
            assert (apart > 1).float().mean() < 0.003, name
        else:
            assert apart.max() <= 1, name
        assert name == "Identity" or (channels == 1 and name == "Color") or not torch.equal(expected, images[place])


def test_strength_is_the_ninth_of_thirty_steps():
    assert float(torch.linspace(0, 1, 31)[9]) == pytest.approx(STRENGTH)


def test_names_are_torchvisions():
    from torchvision.transforms import v2

    assert tuple(v2.RandAugment._AUGMENTATION_SPACE) == NAMES


def test_blur_is_torchvisions_with_each_radius():
    images, radii = photos(), [0.1, 0.5, 1.0, 1.7, 2.0]
    kernel = 2 * 3 + 1  # a tenth of 44 pixels, odd
    expected = torch.stack(
        [tv.gaussian_blur(image, [kernel] * 2, [r] * 2) for image, r in zip(images, radii, strict=True)]
    )
    ours = blur(images, torch.tensor(radii))
    assert furthest(ours, expected) <= 1
    assert furthest(ours[4], images[4]) > 3


def test_mirror():
    images = photos()
    flips = torch.tensor([True, False, False, True, True])
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        expected = torch.where(flips[:, None, None, None], given.flip(-1), given)
        assert torch.equal(mirror(given, flips), expected)
    assert torch.equal(images, photos())


@pytest.mark.parametrize("size", [16, 40, 130])
def test_boxes_are_stretched_as_pillow_does(size):
    """Both ways, the products of a GPU and the kernel of a CPU, against crop and resize of a picture."""
    torch.manual_seed(1)
    images = photos(8)
    boxes = draw_boxes(torch.full((8,), HEIGHT), torch.full((8,), WIDTH), 0.2)
    top, left, height, width = boxes.float().unbind(1)
    rows, columns = triangle_weights(top, height, HEIGHT, size), triangle_weights(left, width, WIDTH, size)
    direct, products = resized_boxes(images, boxes, (size, size)), multiplied(images, rows, columns)
    for image, box, a, b in zip(images, boxes.tolist(), direct, products, strict=True):
        y, x, h, w = box
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((x, y, x + w, y + h))
        expected = torch.from_numpy(np.array(picture.resize((size, size), Image.Resampling.BILINEAR))).permute(2, 0, 1)
        assert furthest(a, expected) <= 1
        assert furthest(b, expected) <= 1


def test_boxes_are_distributed_as_torchvisions():
    """Quantiles of area, ratio and place of 4,000 boxes of each."""
    from torchvision.transforms import v2

    torch.manual_seed(0)
    count, scale = 4000, 0.5
    ours = draw_boxes(torch.full((count,), 300), torch.full((count,), 500), scale).double()
    crop = v2.RandomResizedCrop(10, scale=(scale, 1.0))
    blank = torch.zeros(3, 300, 500, dtype=torch.uint8)
    drawn = [crop.make_params([blank]) for _ in range(count)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], dtype=torch.float64)
    points = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    for figure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        a, b = figure(ours).quantile(points), figure(theirs).quantile(points)
        spread = float(figure(theirs).std())
        assert float((a - b).abs().max()) < 0.12 * spread


@pytest.mark.parametrize(("height", "width", "box"), [(10, 100, [0, 43, 10, 13]), (100, 10, [43, 0, 13, 10])])
def test_box_that_never_fits_is_central(height, width, box):
    boxes = draw_boxes(torch.full((50,), height), torch.full((50,), width), 1.0)
    assert boxes.tolist() == [box] * 50


def test_groups_change_their_own_images_only():
    images = torch.zeros(6, 1, 1, 1)
    seen = []

    def add(amount):
        def change(chosen, rows):
            seen.append((amount, rows.tolist()))
            return chosen + amount

        return change

    change_in_groups(images, torch.tensor([2, 0, 1, 2, 0, 1]), [add(5), None, add(7), add(9)])
    assert images.flatten().tolist() == [7, 5, 0, 7, 5, 0]
    assert seen == [(5, [1, 4]), (7, [0, 3])]
