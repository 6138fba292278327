"""``plml explain`` end to end on small runs: what it draws is what the models say."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plml.cli import main
from plml.config import make_config
from plml.data.load import load_bundle
from plml.errors import CheckpointError
from plml.explain.curves import curves_figure, read_curves
from plml.explain.maps import ClassMap, class_maps, heat, shown_classes
from plml.explain.subjects import Subject, load_models, names_of, subjects_from_split
from plml.predictor import Predictor
from plml.report_log import read_reports
from plml.trainer import Trainer


def train(folder: Path, **changes: object) -> Path:
    tree = {
        "epochs": 2,
        "device": "cpu",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 64, "num_val": 24, "num_test": 24, "canvas": 24},
        },
        "optim": {"lr": 3e-3, "batch_size": 16},
        "diagnostics": "label_correction",
        **changes,
    }
    config = make_config(tree)
    for _ in Trainer(config, load_bundle(config), folder).epochs():
        pass
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "plain": train(folder / "plain", method="an"),
        "boosted": train(folder / "boosted", method="ll_ct", model={"head": "boostlu"}),
        "graph": train(folder / "graph", method="imcl_identity", diagnostics=None, epochs=1),
    }


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return min(pixels.shape) > 150 and len(np.unique(pixels)) > 20


def test_maps_of_two_models_on_images_of_the_data_set(runs: dict[str, Path], tmp_path: Path) -> None:
    arguments = [str(runs["plain"]), str(runs["boosted"] / "best.pt"), "--data", "test", "--number", "3"]
    assert main(["explain", *arguments, "--out", str(tmp_path)]) == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["class_maps.png", "class_maps.svg", "label_correction.png", "label_correction.svg"]
    assert is_picture(tmp_path / "class_maps.png")
    assert is_picture(tmp_path / "label_correction.png")
    text = (tmp_path / "class_maps.svg").read_text()
    models = load_models([runs["plain"] / "best.pt", runs["boosted"] / "best.pt"])
    for subject in subjects_from_split(models, "test", 3):
        assert subject.labels
        assert subject.name in text
        for name in subject.labels[:2]:
            place = list(models[0].class_names).index(name)
            assert re.search(rf">{name}<", text)
            for model, pixels in zip(models, subject.pixels, strict=True):
                assert f">{model.probabilities([pixels])[0, place]:.2f}<" in text
    assert ">ll_ct + boostlu<" in text


def test_drawn_images_and_labels_are_those_of_the_split(runs: dict[str, Path]) -> None:
    model = Predictor(runs["plain"] / "best.pt")
    test = load_bundle(model.config).test
    drawn = subjects_from_split([model], "test", 5, seed=3)
    assert [one.name for one in drawn] == [one.name for one in subjects_from_split([model], "test", 5, seed=3)]
    for subject in drawn:
        row = list(test.ids).index(subject.name)
        assert np.array_equal(subject.pixels[0], test.gather(torch.tensor([row]))[0].permute(1, 2, 0).numpy())
        assert subject.labels == [model.class_names[k] for k in torch.where(test.truth[row] == 1)[0]]


def test_the_mean_of_a_map_is_the_logit_of_its_probability(runs: dict[str, Path]) -> None:
    model = Predictor(runs["boosted"] / "best.pt")
    [subject] = subjects_from_split([model], "val", 1)
    maps = class_maps(model, subject.pixels[0])
    probabilities = model.probabilities([subject.pixels[0]])[0]
    assert [one.probability for one in maps] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert maps[0].values.ndim == 2


def test_image_files_and_matrices(runs: dict[str, Path], tmp_path: Path) -> None:
    photo = tmp_path / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(photo)
    out = tmp_path / "out"
    assert main(["explain", str(runs["graph"]), str(photo), "--names", "identity", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "class_maps.png",
        "class_maps.svg",
        "label_graphs.png",
        "label_graphs.svg",
    ]
    assert "identity: graph, epoch 0" in (out / "label_graphs.svg").read_text()
    assert ">scene<" in (out / "class_maps.svg").read_text()


def test_curves_are_the_figures_of_the_run(runs: dict[str, Path]) -> None:
    curves = read_curves(runs["boosted"])
    told = [report.metrics["diagnosis/loss_false_negatives"] for report in read_reports(runs["boosted"])]
    assert curves["loss_false_negatives"] == list(enumerate(told, start=1))
    axes = curves_figure({"one": curves, "other": read_curves(runs["plain"])}).axes
    assert [one.get_title(loc="left") for one in axes] == ["Loss by kind of label", "Pseudo-positive labels"]
    drawn = [line.get_ydata().tolist() for line in axes[0].lines]  # type: ignore[union-attr]
    assert told in drawn
    assert read_curves(runs["graph"]) == {}


def test_labelled_classes_or_else_the_most_probable() -> None:
    def maps(*probabilities: float) -> list[ClassMap]:
        return [ClassMap(name, p, np.zeros((2, 2))) for name, p in zip("abc", probabilities, strict=True)]

    both = [maps(0.1, 0.5, 0.2), maps(0.1, 0.3, 0.9)]
    assert shown_classes(Subject("x", [], ["a", "b", "c"]), both, 2) == ["a", "b"]
    assert shown_classes(Subject("x", []), both, 2) == ["c", "b"]


def test_own_scale_shows_shape_and_shared_scale_height() -> None:
    low, high = np.array([[-1.0, 0.0], [0.5, 1.0]]), np.array([[-5.0, 0.0], [2.5, 5.0]])
    own = heat([low, high], "own")
    assert own[0].tolist() == [[0, 0.5], [0.75, 1]]
    np.testing.assert_allclose(own[1], own[0])
    shared = heat([low, high], "shared")
    assert shared[0].tolist() == [[0, 0], [0.1, 0.2]]
    assert shared[1].tolist() == [[0, 0], [0.5, 1]]
    assert heat([np.full((2, 2), -1.0)], "shared")[0].tolist() == [[0, 0], [0, 0]]


def test_names_tell_models_apart() -> None:
    one = make_config({"method": "an", "data": {"observation": "single_positive"}})
    other = make_config({**one.tree(), "seed": 1})
    boosted = make_config({**one.tree(), "model": {"head": "csra"}})
    names = names_of([one, other, boosted])
    assert names == [f"an {one.fingerprint[:6]}", f"an {other.fingerprint[:6]}", "an + csra"]


def test_other_classes_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    content = torch.load(runs["plain"] / "best.pt", weights_only=True)
    content["class_names"] = [f"other{k}" for k in range(len(content["class_names"]))]
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="knows the classes"):
        load_models([runs["plain"] / "best.pt", tmp_path / "other.pt"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.jpg"], "needs a checkpoint"),
        (["RUN", "photo.jpg", "--data", "test"], "either that or image files"),
        (["RUN", "data.root=x"], "go with --data"),
        (["RUN", "--number", "0"], "--number must be at least 1"),
        (["RUN", "--names", "a,b"], "1 models need as many different names"),
        (["RUN"], "there is nothing to draw"),
    ],
)
def test_wrong_input_is_told(
    arguments: list[str], message: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.pt"
    bare.write_bytes((runs["plain"] / "best.pt").read_bytes())
    given = [str(bare) if word == "RUN" else word for word in arguments]
    assert main(["explain", *given, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
