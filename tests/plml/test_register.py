"""Registered models against a real store: what is loaded again predicts what ``plml predict`` shows."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plml.checkpoint import load_checkpoint, save_checkpoint
from plml.cli import main
from plml.config import make_config
from plml.data.load import load_bundle
from plml.errors import CheckpointError, ConfigError, DataError
from plml.model_candidate import CHOSEN_TAG, Candidate
from plml.predictor import Predictor
from plml.tracking import Tracker
from plml.tracking_alias import better
from plml.tracking_models import log_epoch, register, run_of_checkpoint
from plml.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, on loading


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = make_config(
        {
            "epochs": 1,
            "device": "cpu",
            "method": "an",
            "data": {
                "name": "digits",
                "observation": "single_positive",
                "options": {"num_train": 48, "num_val": 24, "num_test": 24, "canvas": 24},
            },
        }
    )
    for _ in Trainer(config, load_bundle(config), folder).epochs():
        pass
    return folder / "best.pt"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db", timeout_s=60)


def variant(best: Path, folder: Path, value: float, **changes: Any) -> Path:
    """The same run as if its epoch had been chosen by another figure."""
    content = load_checkpoint(best)
    content["metrics"] = {**content["metrics"], "selection/value": value}
    save_checkpoint(folder / f"{value}.pt", {**content, **changes})
    return folder / f"{value}.pt"


def load(tracker: Tracker, uri: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(tracker.uri)
    try:
        return mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_a_loaded_model_gives_the_scores_of_plml_predict(
    best: Path, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["register", str(best), "--name", "scenes", "--alias", "champion", "--tracking-uri", tracker.uri]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "scenes version 1\n" in shown
    assert "no version had it" in shown
    uri = re.search(r'load_model\("(.*?)"\)', shown)
    assert uri is not None
    model = load(tracker, uri[1])
    pixels = np.random.default_rng(0).integers(0, 255, (31, 45, 1), dtype=np.uint8)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "image.png")
    predictor = Predictor(best, "cpu")
    [(_, expected)] = predictor([tmp_path / "image.png"])
    found = model.predict(pixels[None])
    assert found.shape == (1, 10)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], expected.numpy())
    assert model.metadata.metadata == {"class_names": list(predictor.class_names), "image_size": predictor.size}
    assert model.metadata.signature.inputs is None  # pixels and files: tests/prediction/test_serving.py
    assert model.metadata.signature.outputs.inputs[0].shape == (-1, 10)
    files = [path.name for path in Path(tracker.uri.removeprefix("sqlite:///")).parent.rglob("*")]
    assert "tracking_pyfunc.py" in files
    assert not [name for name in files if name.endswith(".pkl")]


def test_registering_again_makes_no_version(best: Path, tracker: Tracker) -> None:
    candidate = Candidate.read(best)
    run = run_of_checkpoint(tracker, candidate)
    assert run == run_of_checkpoint(tracker, candidate)
    first = register(tracker, candidate, name="again", run_id=run)
    second = register(tracker, candidate, name="again", run_id=run)
    assert (first.version, first.new) == ("1", True)
    assert (second.version, second.new) == ("1", False)
    assert first.alias is None


def test_the_alias_moves_only_to_a_better_version(best: Path, tracker: Tracker, tmp_path: Path) -> None:
    run = run_of_checkpoint(tracker, Candidate.read(best))

    def add(value: float, *, force: bool = False, **changes: Any) -> tuple[bool | None, str]:
        candidate = Candidate.read(variant(best, tmp_path, value, **changes))
        done = register(tracker, candidate, name="race", run_id=run, alias="champion", force=force)
        return done.alias, done.reason

    def champion() -> str:
        return str(tracker.call(lambda client: client.get_model_version_by_alias("race", "champion").version, "look"))

    assert add(50.0) == (True, "'champion' is version 1: no version had it")
    moved, why = add(40.0)
    assert moved is False
    assert "stays with version 1: it is not better (40.00 against 50.00" in why
    moved, why = add(60.0)
    assert moved is True
    assert "from version 1 to 3: 60.00 against 50.00" in why
    moved, why = add(70.0, data={"name": "digits", "digest": "another"})
    assert moved is False
    assert "another data set" in why
    assert champion() == "3"
    moved, why = add(30.0, force=True)
    assert moved is True
    assert "forced, though it is not better" in why
    assert champion() == "5"


def test_what_was_chosen_by_other_labels_is_not_compared() -> None:
    mine = {"plml.selection": "map on clean labels", "plml.data": "d", CHOSEN_TAG: "90.0"}
    theirs = {"plml.selection": "map on observed labels", "plml.data": "d", CHOSEN_TAG: "50.0"}
    verdict, why = better(mine, theirs)
    assert not verdict
    assert "another criterion and labels" in why
    assert better(mine, {"plml.selection": "map on clean labels", "plml.data": "d"}) == (
        False,
        "the other version has no selection figure",
    )


def test_an_epoch_is_a_logged_model_with_step_and_figures(best: Path, tracker: Tracker) -> None:
    run = run_of_checkpoint(tracker, Candidate.read(best))
    identifier = log_epoch(tracker, run, best)
    model = tracker.call(lambda client: client.get_logged_model(identifier), "look")
    content = load_checkpoint(best)
    assert model.name == f"an-{content['fingerprint'][:8]}-epoch-000"
    assert model.source_run_id == run
    assert {metric.key: metric.value for metric in model.metrics or ()} == {
        key: value for key, value in content["metrics"].items() if key.startswith(("val", "selection/"))
    }
    outputs = tracker.call(lambda client: client.get_run(run), "look").outputs
    assert outputs is not None
    assert (identifier, 0) in [(one.model_id, one.step) for one in outputs.model_outputs]
    assert load(tracker, f"models:/{identifier}").predict(np.zeros((2, 24, 24, 1), np.uint8)).shape == (2, 10)


def test_a_linear_run_is_registered_with_its_backbone(tmp_path: Path, tracker: Tracker) -> None:
    """A checkpoint of features needs the backbone's file; what is registered does not."""
    torch.manual_seed(0)
    tree = {
        "mode": "linear",
        "epochs": 1,
        "device": "cpu",
        "method": "an",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "image_size": 24,
            "options": {"num_train": 48, "num_val": 24, "num_test": 24, "canvas": 24},
        },
    }
    config = make_config(tree)
    for _ in Trainer(config, load_bundle(config), tmp_path / "run").epochs():
        pass
    predictor = Predictor(tmp_path / "run" / "best.pt", "cpu")
    save_checkpoint(tmp_path / "whole.pt", predictor.whole_checkpoint())
    again = Predictor(tmp_path / "whole.pt", "cpu")
    image = np.random.default_rng(1).integers(0, 255, (24, 24, predictor.channels), dtype=np.uint8)
    torch.testing.assert_close(again.probabilities([image]), predictor.probabilities([image]), rtol=0, atol=0)
    assert any(name.startswith("backbone.") for name in load_checkpoint(tmp_path / "whole.pt")["model"])


def test_wrong_input_is_told(best: Path, tracker: Tracker, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        Candidate.read(best.with_name("last.pt"))
    candidate = Candidate.read(best)
    with pytest.raises(ConfigError, match="a registered model has a name"):
        register(tracker, candidate, name="a/b", run_id="x")
    with pytest.raises(DataError, match="must be uint8"):
        candidate.predictor.resized(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(DataError, match="must be uint8"):
        candidate.predictor.resized(np.zeros((4, 4, 2), np.uint8))
