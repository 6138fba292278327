"""Exported files run without plml and give its scores, for every backbone, and every head on the smallest of them."""

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plml.checkpoint import load_checkpoint, save_checkpoint
from plml.cli import DONE, FAILED, WRONG_INPUT, main
from plml.config import make_config
from plml.errors import CheckpointError
from plml.export.description import as_text, describe
from plml.export.formats import FORMATS, Format, Run, write_file
from plml.export.network import Subject, exported_program
from plml.models import build_model
from plml.models.backbones import BACKBONES
from plml.models.heads import HEADS
from plml.thresholds.calibration import Calibration
from plml.thresholds.file import FittedCalibration, Thresholds, beside, checkpoint_digest

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporters

# Of probabilities. Measured on real photos with small_cnn, resnet18 and a trained mobilenet_v2: 4e-7 at most
# (docs/deploying.md). Deeper untrained networks multiply rounding: resnet101 by up to 4e-5 on what is tried here.
TOLERANCE = 1e-5
NAMES = ["ant", "bee", "cat", "dog", "eel"]
# Every head on the smallest backbone, and every other backbone with the plain head.
PAIRS = [("small_cnn", head) for head in HEADS] + [(name, "linear") for name in BACKBONES if name != "small_cnn"]


def untrained(folder: Path, backbone: str, head: str, *, channels: int = 3, size: int = 40, seed: int = 0) -> Path:
    """A checkpoint as training writes one, of a network that was not trained but has scores that spread."""
    tree = {
        "method": "an",
        "model": {"backbone": backbone, "head": head},
        "data": {"name": "digits", "observation": "single_positive", "image_size": size},
    }
    config = make_config(tree)
    torch.manual_seed(seed)
    model = build_model(config.model, num_classes=len(NAMES), input_shape=(channels, size, size))
    for module in model.modules():  # statistics as of training: without them the scores of deep networks vanish
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (8, channels, size, size), dtype=torch.uint8))
    model.eval()
    content = {
        "config": json.dumps(config.tree()),
        "fingerprint": config.fingerprint,
        "data": {"name": "digits", "digest": "0" * 64},
        "class_names": NAMES,
        "input_shape": [size, size, channels],
        "image_size": size,
        "epoch": 3,
        "model": model.state_dict(),
    }
    save_checkpoint(folder / "best.pt", content)
    return folder / "best.pt"


def export(checkpoint: Path, form: str, *options: str) -> Path:
    out = checkpoint.with_name(f"model{FORMATS[form].suffix}")
    assert main(["export", str(checkpoint), "--format", form, "--out", str(out), *options]) == DONE
    return out


def exact(subject: Subject, inputs: torch.Tensor) -> torch.Tensor:
    """Logits (N, L) in double precision: the ruler of what rounding does to single precision."""
    with torch.no_grad():
        pixels = subject.model.preprocess(inputs.permute(0, 3, 1, 2))
        return copy.deepcopy(subject.model).double()(pixels.double()).logits


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_onnxruntime_gives_the_scores_of_plml(tmp_path: Path, backbone: str, head: str) -> None:
    subject = Subject.read(untrained(tmp_path, backbone, head))
    path = tmp_path / "model.onnx"
    program = exported_program(subject, subject.network(Calibration()))
    FORMATS["onnx"].write(program, describe(subject, None), path)
    run = FORMATS["onnx"].load(path)
    for count in (1, 2, 5):
        inputs = subject.random_inputs(count, seed=count)
        probabilities, logits = run(inputs)
        expected = subject.reference(inputs)
        assert float(expected.std()) > 0.01
        assert probabilities.shape == (count, len(NAMES))
        # What single precision itself does to plml's scores is no fault of the file.
        ruler = exact(subject, inputs)
        rounding = float((expected.sigmoid() - ruler.sigmoid()).abs().max())
        allowed = max(TOLERANCE, 4 * rounding)
        torch.testing.assert_close(probabilities, expected.sigmoid(), rtol=0, atol=allowed)
        slack = max(1e-4, 4 * float((expected - ruler).abs().max()))
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=slack)
        again, _ = program.module()(inputs)
        torch.testing.assert_close(again, expected.sigmoid(), rtol=0, atol=allowed)
    # Other sizes are resized in the graph; plml has Pillow do it.
    inputs = subject.random_inputs(2, size=(61, 90), seed=9)
    torch.testing.assert_close(run(inputs)[0], subject.reference(inputs).sigmoid(), rtol=0, atol=0.01)


def test_the_graph_resizes_like_pillow(tmp_path: Path) -> None:
    subject = Subject.read(untrained(tmp_path, "small_cnn", "linear"))
    network = subject.network(Calibration())
    for size in ((200, 133), (40, 40), (17, 23), (41, 39)):
        image = subject.random_inputs(1, size=size, seed=sum(size))
        resized = network.preprocessed(image).mul(255).round()[0].permute(1, 2, 0).numpy()
        expected = Image.fromarray(image[0].numpy()).resize((40, 40), Image.Resampling.BILINEAR)
        assert np.abs(resized - np.asarray(expected)).max() <= (0 if size == (40, 40) else 1)


def test_the_file_says_what_it_takes_and_where_it_is_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    thresholds = Thresholds(
        checkpoint_sha256=checkpoint_digest(checkpoint),
        chosen_by="F1 per class on clean labels of 9 validation images",
        uses_truth=True,
        calibration=FittedCalibration(slope=0.5, offset=1.0),
        thresholds=dict.fromkeys(NAMES, 0.25),
    )
    thresholds.write(beside(checkpoint))
    path = export(checkpoint, "onnx")
    assert "largest difference of a probability, onnxruntime from plml: " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(path))
    [given] = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["N", "H", "W", 3])
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("probabilities", ["N", 5]),
        ("logits", ["N", 5]),
    ]
    said = json.loads(session.get_modelmeta().custom_metadata_map["plml"])
    assert said["class_names"] == NAMES
    assert said["thresholds"] == [0.25] * 5
    assert said["threshold_logits"] == pytest.approx(
        [(math.log(0.25 / 0.75) - 1.0) / 0.5] * 5
    )  # of the output `logits`
    assert said["thresholds_use_truth"] is True
    assert said["calibration"] == {"slope": 0.5, "offset": 1.0}
    assert said["checkpoint_sha256"] == checkpoint_digest(checkpoint)
    assert said["selected_by"] == "ap_auc on observed labels"
    assert said["observation"]["name"] == "single_positive"
    assert said["input"]["shape"] == ["N", "H", "W", 3]
    image = Subject.read(checkpoint).random_inputs(1)
    probabilities, logits = session.run(None, {"images": image.numpy()})
    expected = 1 / (1 + np.exp(-(0.5 * logits.astype(np.float64) + 1.0)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)  # calibrated; logits are not
    plain = export(checkpoint, "onnx", "--thresholds", "none")
    said = json.loads(onnxruntime.InferenceSession(str(plain)).get_modelmeta().custom_metadata_map["plml"])
    assert said["thresholds"] is said["calibration"] is said["threshold_logits"] is None


def test_thresholds_that_nothing_or_everything_passes_are_numbers_too(tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    ends = Thresholds(chosen_by="hand", thresholds=dict(zip(NAMES, [0.0, 1.0, 0.5, 0.5, 0.5], strict=True)))
    said = json.loads(as_text(describe(Subject.read(checkpoint), ends)), parse_constant=pytest.fail)
    everything, nothing = said["threshold_logits"][:2]
    assert everything < -1e38 < 1e38 < nothing


def test_torch_export_loads_without_plml(tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path, "small_cnn", "csra", channels=1)
    export(checkpoint, "torch-export")
    inputs = Subject.read(checkpoint).random_inputs(3)
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    script = (
        "import json, sys, numpy as np, torch\n"
        "class Refused:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'plml': raise ImportError('plml is not here')\n"
        "sys.meta_path.insert(0, Refused())\n"
        "extra = {'plml.json': ''}\n"
        "model = torch.export.load('model.pt2', extra_files=extra).module()\n"
        "probabilities, logits = model(torch.from_numpy(np.load('inputs.npy')))\n"
        "print(json.dumps([json.loads(extra['plml.json'])['class_names'], probabilities.tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    names, probabilities = json.loads(done.stdout)
    assert names == NAMES
    expected = Subject.read(checkpoint).reference(inputs).sigmoid()
    torch.testing.assert_close(torch.tensor(probabilities), expected, rtol=0, atol=TOLERANCE)


def test_a_head_on_features_is_exported_alone(tmp_path: Path) -> None:
    config = make_config({"mode": "linear", "method": "an", "data": {"name": "digits"}})
    model = build_model(config.model, num_classes=5, input_shape=(12,))
    content = {
        "config": json.dumps(config.tree()),
        "fingerprint": config.fingerprint,
        "data": {"name": "corel5k", "digest": "0" * 64},
        "class_names": NAMES,
        "input_shape": [12],
        "image_size": None,
        "epoch": 0,
        "model": model.state_dict(),
    }
    save_checkpoint(tmp_path / "best.pt", content)
    path = export(tmp_path / "best.pt", "onnx")
    session = onnxruntime.InferenceSession(str(path))
    [given] = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("features", "tensor(float)", ["N", 12])
    features = torch.randn(4, 12)
    with torch.no_grad():
        expected = model(features).logits
    found = session.run(["logits"], {"features": features.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "model.pt"], "--out must end in .onnx with --format onnx, got 'model.pt'"),
        (["--format", "torch-export", "--out", "m.onnx"], "--out must end in .pt2"),
        (["--out", "m.onnx", "--thresholds", "absent.json"], "there is no such file of thresholds"),
    ],
)
def test_wrong_input_is_told(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    assert main(["export", str(checkpoint), *arguments]) == WRONG_INPUT
    assert message in capsys.readouterr().err


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", str(checkpoint), "--out", str(tmp_path / "m.onnx")]) == WRONG_INPUT
    assert "needs onnx and onnxscript, not installed here: pip install 'plml[export]'" in capsys.readouterr().err


def test_a_file_whose_scores_are_off_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comparison is told of a difference: here plml's own side is made to err."""
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    right = Subject.reference
    monkeypatch.setattr(Subject, "reference", lambda self, inputs: right(self, inputs) + 0.1)
    out = tmp_path / "m.pt2"
    assert main(["export", str(checkpoint), "--format", "torch-export", "--out", str(out)]) == FAILED
    assert f"error: {out} was not written: its scores are not within 0.0001 of plml's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def spoilt(change: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> Format:
    """The form `torch-export`, whose files give other scores than they should."""
    form = FORMATS["torch-export"]

    def load(path: Path) -> Run:
        run = form.load(path)
        return lambda inputs: change(*run(inputs))

    return replace(form, load=load)


def with_nan(scores: torch.Tensor) -> torch.Tensor:
    """One entry that is no number."""
    scores = scores.clone()
    scores[-1, -1] = torch.nan
    return scores


@pytest.mark.parametrize(
    "change",
    [
        lambda probabilities, logits: (with_nan(probabilities), logits),
        lambda probabilities, logits: (probabilities, with_nan(logits)),
        lambda probabilities, logits: (probabilities, logits + 0.01),
        lambda probabilities, logits: (probabilities, logits * torch.inf),
        lambda probabilities, logits: (probabilities if len(logits) != 2 else with_nan(probabilities), logits),
    ],
    ids=["probability NaN", "logit NaN", "logits off", "infinite logits", "NaN where the graph resizes"],
)
def test_scores_that_are_no_numbers_or_only_logits_that_are_off_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = untrained(tmp_path, "small_cnn", "linear"), tmp_path / "m.pt2"
    out.write_bytes(b"the good file of before")
    monkeypatch.setitem(FORMATS, "torch-export", spoilt(change))
    assert main(["export", str(checkpoint), "--format", "torch-export", "--out", str(out)]) == FAILED
    told = capsys.readouterr()
    assert "was not written" in told.err
    assert "written: " not in told.out
    assert out.read_bytes() == b"the good file of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "m.pt2"]


def test_a_network_that_gives_no_numbers_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NaN on both sides is no agreement."""
    checkpoint = untrained(tmp_path, "small_cnn", "linear")
    content = load_checkpoint(checkpoint)
    content["model"]["head.linear.bias"][0] = torch.nan
    save_checkpoint(checkpoint, content)
    out = tmp_path / "m.pt2"
    assert main(["export", str(checkpoint), "--format", "torch-export", "--out", str(out)]) == FAILED
    assert "largest difference of a probability, torch from plml: nan" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize("when", ["loaded", "run"])
def test_a_file_that_cannot_be_run_is_one_line_and_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no such operator\nand much more about it")

    checkpoint, out = untrained(tmp_path, "small_cnn", "linear"), tmp_path / "m.pt2"
    out.write_bytes(b"the good file of before")
    load = fail if when == "loaded" else lambda path: fail
    monkeypatch.setitem(FORMATS, "torch-export", replace(FORMATS["torch-export"], load=load))
    assert main(["export", str(checkpoint), "--format", "torch-export", "--out", str(out)]) == WRONG_INPUT
    line = "error: --format torch-export: torch cannot run the file that was made: RuntimeError: no such operator\n"
    assert capsys.readouterr().err == line
    assert out.read_bytes() == b"the good file of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "m.pt2"]


class Unknown(torch.nn.Module):
    """A head with an operator that ONNX does not have."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> Any:
        out = self.head(features)
        return out._replace(logits=torch.special.bessel_j0(out.logits))


class Branching(Unknown):
    """A head that asks what its input is, which no graph can."""

    def forward(self, features: torch.Tensor) -> Any:
        return self.head(features if float(features.sum()) > 0 else -features)


@pytest.mark.parametrize(
    ("form", "head", "cause"),
    [("onnx", Unknown, "No ONNX function found"), ("torch-export", Branching, "Could not guard on data-dependent")],
)
def test_a_network_that_cannot_be_exported_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    head: type[Unknown],
    cause: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = Subject.network

    def network(self: Subject, calibration: Calibration) -> Any:
        made = right(self, calibration)
        made.head = head(made.head)
        return made

    monkeypatch.setattr(Subject, "network", network)
    checkpoint, out = untrained(tmp_path, "small_cnn", "csra"), tmp_path / f"m{FORMATS[form].suffix}"
    assert main(["export", str(checkpoint), "--format", form, "--out", str(out)]) == WRONG_INPUT
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: --format {form}: backbone small_cnn with head csra cannot be exported: ")
    assert cause in last
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
    subject = Subject.read(checkpoint)
    with pytest.raises(CheckpointError) as caught:
        write_file(form, subject, Calibration(), describe(subject, None), out)
    assert caught.value.__cause__ is not None


@pytest.mark.data
def test_real_photos_have_the_same_scores(tmp_path: Path, shared_data: Path) -> None:
    photos = sorted((shared_data / "data/voc2007_part/VOCdevkit/VOC2007/JPEGImages").glob("*.jpg"))[:4]
    weights = shared_data / "weights" / "mobilenet_v2_imagenet.safetensors"
    checkpoint = untrained(tmp_path, "mobilenet_v2", "linear", size=128)
    subject = Subject.read(checkpoint)
    from plml.models.weights import load_backbone_weights

    assert subject.model.backbone is not None
    load_backbone_weights(subject.model.backbone, subject.config.model.model_copy(update={"weights": str(weights)}))
    path = tmp_path / "model.onnx"
    FORMATS["onnx"].write(exported_program(subject, subject.network(Calibration())), describe(subject, None), path)
    run = FORMATS["onnx"].load(path)
    assert subject.predictor is not None
    for photo in photos:
        expected = subject.predictor.probabilities([subject.predictor.pixels(photo)])
        small = torch.from_numpy(subject.predictor.pixels(photo))[None]
        torch.testing.assert_close(run(small)[0], expected, rtol=0, atol=TOLERANCE)
        whole = torch.from_numpy(np.array(Image.open(photo).convert("RGB")))[None]
        torch.testing.assert_close(run(whole)[0], expected, rtol=0, atol=2e-3)
