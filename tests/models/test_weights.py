import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from plml.config import ModelConfig
from plml.errors import ConfigError, DataError
from plml.models import build_model
from plml.models.backbones import SmallCNN
from plml.models.weights import find_weights, read_weights, weights_digest


@pytest.fixture
def trained() -> SmallCNN:
    torch.manual_seed(11)
    return SmallCNN(3)


def build(path: Path, backbone: str = "small_cnn") -> torch.nn.Module:
    config = ModelConfig(backbone=backbone, weights=str(path))
    model = build_model(config, num_classes=4, input_shape=(3, 32, 32))
    assert model.backbone is not None
    return model.backbone


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_of_a_file_are_loaded(trained: SmallCNN, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save(trained.state_dict(), path)
    for name, tensor in build(path).state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


def test_a_whole_classifier_and_a_wrapped_mapping_are_taken(trained: SmallCNN, tmp_path: Path) -> None:
    whole = {f"backbone.{key}": value for key, value in trained.state_dict().items()}
    whole["head.linear.weight"] = torch.zeros(7, 96)
    torch.save({"state_dict": whole, "epoch": 3}, tmp_path / "w.pth")
    for name, tensor in build(tmp_path / "w.pth").state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


def test_keys_that_do_not_fit_are_named(trained: SmallCNN, tmp_path: Path) -> None:
    state = trained.state_dict()
    state["layers.9.weight"] = state.pop("layers.1.0.weight")
    state["layers.0.0.weight"] = torch.zeros(16, 1, 5, 5)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError) as error:
        build(tmp_path / "w.pth")
    message = str(error.value)
    assert "w.pth: does not fit backbone 'small_cnn'" in message
    assert "1 missing (layers.1.0.weight)" in message
    assert "1 unexpected (layers.9.weight)" in message
    assert "1 of another shape (layers.0.0.weight (16, 1, 5, 5) instead of (16, 3, 5, 5))" in message


def test_counters_of_batches_may_be_absent(trained: SmallCNN, tmp_path: Path) -> None:
    state = {key: value for key, value in trained.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "w.pth")
    assert torch.equal(build(tmp_path / "w.pth").state_dict()["layers.0.0.weight"], state["layers.0.0.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not a weight file at all, but long enough to be read"])
def test_unreadable_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=rf"w{suffix}: cannot be read as a weight file"):
        build(tmp_path / f"w{suffix}")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="cannot be read as a weight file"):
        build(tmp_path / "w.pth")
    torch.save([torch.zeros(2)], tmp_path / "w.pth")
    with pytest.raises(DataError, match="expected a mapping of names to tensors, got list"):
        read_weights(tmp_path / "w.pth")


def test_absent_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mobilenet.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match=r"mobilnet\.safetensors is not a file; did you mean '.*mobilenet"):
        find_weights(ModelConfig(weights=str(tmp_path / "mobilnet.safetensors")))


def test_torchvision_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    config = ModelConfig(backbone="resnet50", weights="IMAGENET1K_V1")
    with pytest.raises(DataError, match=r"IMAGENET1K_V1 of resnet50 is not at .*resnet50-\w+\.pth; .*--download"):
        find_weights(config)
    with pytest.raises(ConfigError, match=r"got 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V\d'"):
        find_weights(config.model_copy(update={"weights": "IMAGENET1K_V3"}))
    with pytest.raises(ConfigError, match="file for backbone 'small_cnn', got 'IMAGENET1K_V1'"):
        find_weights(config.model_copy(update={"backbone": "small_cnn"}))
    stored = tmp_path / "checkpoints" / "resnet50-0676ba61.pth"
    stored.parent.mkdir()
    stored.write_bytes(b"x")
    assert find_weights(config) == stored


def test_named_weights_are_fetched_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    served, hub = tmp_path / "served", tmp_path / "hub"
    served.mkdir()
    content = b"weights"
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (served / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))
    config = ModelConfig(backbone="resnet18", weights="IMAGENET1K_V1")
    url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
    try:
        monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
        assert find_weights(config, download=True).read_bytes() == content
        assert find_weights(config) == hub / "checkpoints" / name
        (hub / "checkpoints" / name).unlink()
        (served / name).write_bytes(b"other")
        with pytest.raises(DataError, match=f"{name} cannot be fetched: invalid hash"):
            find_weights(config, download=True)
        (served / name).unlink()
        with pytest.raises(DataError, match=f"{name} cannot be fetched: HTTP Error 404"):
            find_weights(config, download=True)
    finally:
        server.shutdown()
        server.server_close()
    assert list((hub / "checkpoints").iterdir()) == []


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"abc")
    config = ModelConfig(weights=str(path))
    assert weights_digest(config) == hashlib.sha256(b"abc").hexdigest()
    path.write_bytes(b"abcd")
    assert weights_digest(config) == hashlib.sha256(b"abcd").hexdigest()
    assert weights_digest(ModelConfig()) is None


@pytest.mark.data
def test_real_mobilenet_loads_and_a_partial_file_is_refused(shared_data: Path) -> None:
    build(shared_data / "weights" / "mobilenet_v2_imagenet.safetensors", "mobilenet_v2")
    with pytest.raises(DataError, match=r"does not fit backbone 'resnet18': \d+ missing \(layer4"):
        build(shared_data / "weights" / "resnet18_stages1to3_imagenet_partial.safetensors", "resnet18")
