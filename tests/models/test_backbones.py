import pytest
import torch

from plml.models.backbones import BACKBONES, SmallCNN


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_maps_have_the_declared_width(name: str) -> None:
    spec = BACKBONES[name]
    with torch.device("meta"):
        network = spec.build(3).eval()
        maps = network(torch.empty(2, 3, 64, 64))
    assert maps.shape[:2] == (2, spec.feature_dim)
    assert maps.ndim == 4


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_maps_are_torchvisions_before_pooling(name: str) -> None:
    """With the same weights, pooled maps and torchvision's own classifier give torchvision's own output."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    whole = get_model(name, weights=None).eval()
    ours = BACKBONES[name].build(3).eval()
    prefix = BACKBONES[name].classifier_prefix
    ours.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith(prefix)})
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        classifier = whole.get_submodule(prefix.rstrip("."))
        torch.testing.assert_close(classifier(ours(images).mean(dim=(2, 3))), whole(images))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_small_cnn_takes_any_number_of_channels_and_a_batch_of_one(channels: int) -> None:
    network = SmallCNN(channels)
    assert network(torch.rand(1, channels, 40, 40)).shape == (1, SmallCNN.feature_dim, 10, 10)
    assert network(torch.rand(2, channels, 33, 47)).shape[:2] == (2, SmallCNN.feature_dim)


def test_small_cnn_sees_21_pixels() -> None:
    network = SmallCNN(1).eval()
    image = torch.rand(1, 1, 81, 81, requires_grad=True)
    maps = network(image)
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    assert image.grad is not None
    seen = image.grad[0, 0].abs().sum(dim=0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 21
