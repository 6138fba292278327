"""What ``precision`` and ``compile`` change: rounding where they may, and nothing else."""

import copy
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from plml import compiling, numerics
from plml.compiling import wants_compiled
from plml.config import ModelConfig, OptimConfig, make_config
from plml.errors import ConfigError
from plml.models import Classifier, build_model
from plml.numerics import autocast, has_bfloat16, lay_out, set_rounding
from plml.optim import Optimization
from plml.scoring import pass_size, score

CPU = torch.device("cpu")


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return build_model(ModelConfig(backbone="small_cnn"), num_classes=3, input_shape=(3, 16, 16))


def photos(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


@pytest.mark.parametrize("units", [False, True])
def test_fast_uses_bfloat16_where_there_are_units(monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: units)
    assert has_bfloat16(CPU) == units
    for precision, expected in (("paper", torch.float32), ("fast", torch.bfloat16 if units else torch.float32)):
        with autocast(CPU, precision):
            assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == expected


@pytest.mark.parametrize(("precision", "fast"), [("fast", True), ("paper", False)])
def test_switches_of_cuda_libraries(precision: str, fast: bool) -> None:
    set_rounding(torch.device("cuda"), precision)
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == fast
    assert torch.backends.cudnn.benchmark == fast != torch.backends.cudnn.deterministic


def test_layout_changes_neither_values_nor_names() -> None:
    plain, laid = network(), network()
    lay_out(laid, CPU, "paper")
    before, after = plain.state_dict(), laid.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert any(before[key].stride() != after[key].stride() for key in before)
    torch.testing.assert_close(laid(photos(4)).logits, plain(photos(4)).logits)


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop"])
def test_moments_follow_the_layout_of_their_parameters(name: str) -> None:
    """A record written with the other layout goes on as if nothing had happened."""
    config = OptimConfig(name=name, weight_decay=0.1)
    gradients = [torch.randn(4, 3, 5, 5), torch.randn(4)]

    def optimization(layout: torch.memory_format) -> tuple[list[torch.nn.Parameter], Optimization]:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=layout))
        params = [weight, torch.nn.Parameter(torch.randn(4))]
        return params, Optimization(config, 0.1, [{"params": params, "lr": 0.1}], 1, 5)

    def step(params: list[torch.nn.Parameter], by: Optimization) -> None:
        for parameter, gradient in zip(params, gradients, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        by.step()

    old, by_old = optimization(torch.contiguous_format)
    new, by_new = optimization(torch.channels_last)
    step(old, by_old)
    with torch.no_grad():
        for parameter, value in zip(new, old, strict=True):
            parameter.copy_(value)
    by_new.load_state_dict(copy.deepcopy(by_old.state_dict()))
    step(old, by_old)
    step(new, by_new)
    assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))


def test_pass_size_fits_cache_and_memory() -> None:
    gpu = torch.device("cuda")
    assert pass_size(torch.Size((2048,)), CPU) == pass_size(torch.Size((2048,)), gpu) == 4096
    assert [pass_size(torch.Size((3, side, side)), CPU) for side in (32, 128, 224, 448, 2048)] == [64, 16, 4, 1, 1]
    assert [pass_size(torch.Size((3, side, side)), gpu) for side in (32, 224, 448)] == [256, 256, 64]


def test_scores_of_all_examples_in_order() -> None:
    model, images = network(), photos(70)
    logits = score(model, 70, lambda index: images[index], precision="paper")
    assert logits.shape == (70, 3)
    assert not model.training
    with torch.no_grad():
        torch.testing.assert_close(logits, model(images).logits)
    assert not logits.is_inference()  # methods compute gradients with them


def test_who_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wants_compiled("never", CPU)
    assert not wants_compiled("auto", CPU)
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not wants_compiled("auto", torch.device("cuda"))
    with pytest.raises(ConfigError, match="compile: 'always' needs a C\\+\\+ compiler"):
        wants_compiled("always", CPU)
    with pytest.raises(ConfigError, match="compile: 'always' needs the package triton"):
        wants_compiled("always", torch.device("cuda"))


def test_uncompiled_runs_keep_their_fingerprints() -> None:
    tree = make_config({}).computed()
    assert "compile" not in tree
    assert make_config({"compile": "always"}).fingerprint != make_config({}).fingerprint


def test_only_full_batches_run_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = network(), []
    plain = model.backbone.forward

    def compiled(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return plain(images)

    monkeypatch.setattr(model.backbone, "compile", lambda **_: setattr(model.backbone, "_compiled_call_impl", compiled))
    model.compile_backbone()
    for count in (8, 8, 5, 16, 8):  # 16: two views of a batch of 8
        model(photos(count))
    assert sizes == [8, 8, 16, 8]
    model.eval()
    for count in (12, 12, 8):
        model(photos(count))
    assert sizes[4:] == [12, 12]


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.compiler)])
def test_compiled_network_equals_the_plain_one(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, built = network(), network()
    monkeypatch.setattr(built.backbone, "compile", partial(built.backbone.compile, backend=backend))
    built.compile_backbone()
    assert list(built.state_dict()) == list(plain.state_dict())
    for model in (plain, built):
        for count in (4, 4, 3):
            model(photos(count)).logits.square().mean().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), built.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, a), (_, b) in zip(plain.named_buffers(), built.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    plain.eval(), built.eval()
    with torch.no_grad():
        torch.testing.assert_close(built(photos(4)).logits, plain(photos(4)).logits, rtol=1e-4, atol=1e-5)
    built.load_state_dict(copy.deepcopy(plain).state_dict())
