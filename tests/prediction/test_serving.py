"""A registered model as MLflow serves it: images in base64 over HTTP, clear refusals, and nothing unpickled."""

import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plml.model_candidate import Candidate
from plml.predictor import Predictor
from plml.thresholds.file import FittedCalibration, Thresholds, beside, checkpoint_digest
from plml.tracking import Tracker
from plml.tracking_models import register, run_of_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, on loading
SCALING = FittedCalibration(slope=0.5, offset=0.25)


@pytest.fixture(scope="module")
def checkpoint(best: Path, png: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with calibrated thresholds beside it, by which the image has five of the ten classes."""
    copy = tmp_path_factory.mktemp("served") / "best.pt"
    copy.write_bytes(best.read_bytes())
    predictor = Predictor(copy, "cpu")
    names = predictor.class_names
    logits = predictor.logits([predictor.pixels_of(png, "image")])[0]
    ranked = sorted((SCALING.slope * logits + SCALING.offset).sigmoid().tolist())
    Thresholds(
        checkpoint_sha256=checkpoint_digest(copy),
        chosen_by="F1 per class on clean labels of 9 validation images",
        uses_truth=True,
        calibration=SCALING,
        thresholds=dict.fromkeys(names, (ranked[4] + ranked[5]) / 2),
    ).write(beside(copy))
    return copy


@pytest.fixture(scope="module")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, str]:
    """The store, and the address of the registered version."""
    tracker = Tracker(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db", timeout_s=60)
    candidate = Candidate.read(checkpoint)
    done = register(tracker, candidate, name="scenes", run_id=run_of_checkpoint(tracker, candidate))
    return tracker, f"models:/scenes/{done.version}"


@pytest.fixture(scope="module")
def model(served: tuple[Tracker, str]) -> Any:
    import mlflow

    tracker, uri = served
    mlflow.set_tracking_uri(tracker.uri)
    try:
        return mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def expected(checkpoint: Path, png: bytes) -> dict[str, Any]:
    """What the model must say of an image: calibrated probabilities, and the classes above the cut."""
    predictor = Predictor(checkpoint, "cpu")
    logits = predictor.logits([predictor.pixels_of(png, "image")])[0]
    probabilities = (SCALING.slope * logits + SCALING.offset).sigmoid().tolist()
    named = dict(zip(predictor.class_names, probabilities, strict=True))
    half = sorted(probabilities)[5]
    return {"labels": [name for name, p in named.items() if p >= half], "probabilities": pytest.approx(named, abs=2e-6)}


def test_files_give_names_and_labels_and_pixels_an_array(model: Any, checkpoint: Path, png: bytes) -> None:
    text = base64.b64encode(png).decode()
    right = expected(checkpoint, png)
    assert len(right["labels"]) == 5
    assert model.predict([text, text]) == [right, right]
    assert model.predict(pd.DataFrame({"image": [text]})) == [right]
    pixels = np.asarray(Image.open(io.BytesIO(png)))[None, :, :, None]
    found = model.predict(pixels)
    assert found.shape == (1, 10)
    names = Predictor(checkpoint, "cpu").class_names
    assert right["probabilities"] == dict(zip(names, found[0].tolist(), strict=True))
    assert model.metadata.metadata["thresholds_chosen_by"].startswith("F1 per class on clean labels")


def test_what_is_no_image_is_the_senders_mistake(model: Any) -> None:
    from mlflow.exceptions import MlflowException

    for images, message in ((["%%%"], "image 0: is no base64"), (np.zeros((1, 4, 4, 3)), "whole numbers")):
        with pytest.raises(MlflowException, match=message) as caught:
            model.predict(images)
        assert caught.value.get_http_status_code() == 400


def test_thresholds_chosen_later_make_a_new_version(
    served: tuple[Tracker, str], checkpoint: Path, tmp_path: Path
) -> None:
    tracker, _ = served
    bare = tmp_path / "best.pt"
    bare.write_bytes(checkpoint.read_bytes())
    run = run_of_checkpoint(tracker, Candidate.read(bare))
    first = register(tracker, Candidate.read(bare), name="later", run_id=run)
    beside(bare).write_bytes(beside(checkpoint).read_bytes())
    second = register(tracker, Candidate.read(bare), name="later", run_id=run)
    again = register(tracker, Candidate.read(bare), name="later", run_id=run)
    assert [first.version, second.version, again.version] == ["1", "2", "2"]


def test_loading_unpickles_nothing(served: tuple[Tracker, str], png: bytes) -> None:
    """Python tells an audit hook of every name that a pickle asks for; a checkpoint's own tensors need none of it."""
    tracker, uri = served
    script = f"""
import base64, sys
import mlflow.pyfunc, torch, plml.predictor, plml.prediction.request, plml.prediction.writers
asked = []
sys.addaudithook(lambda event, details: asked.append(details) if event == "pickle.find_class" else None)
import pickle
class Probe: pass
pickle.loads(pickle.dumps(Probe))
assert len(asked) == 1, "the hook hears nothing"
model = mlflow.pyfunc.load_model({uri!r})
answer = model.predict([base64.b64decode({base64.b64encode(png).decode()!r})])
assert set(answer[0]) == {{"labels", "probabilities"}}
print(len(asked) - 1)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracker.uri},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0"


@pytest.fixture
def server(served: tuple[Tracker, str]) -> Iterator[int]:
    """``mlflow models serve`` on a free port of this machine; its port."""
    tracker, uri = served
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it starts uvicorn by name
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracker.uri, "PATH": places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while request(port, "GET", "/ping")[0] != 200:
            assert process.poll() is None, process.stdout.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        process.stdout.close()  # type: ignore[union-attr]


def request(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Return status and JSON of an answer; status 0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    text = body if isinstance(body, str | None) else json.dumps(body)
    try:
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read().decode()
        return answer.status, json.loads(content) if content.strip() else None
    except ConnectionError:
        return 0, None
    finally:
        connection.close()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_real_server_answers_and_refuses(server: int, checkpoint: Path, png: bytes) -> None:
    text = base64.b64encode(png).decode()
    right = expected(checkpoint, png)
    assert request(server, "POST", "/invocations", {"inputs": [text]}) == (200, {"predictions": [right]})
    table = {"columns": ["image"], "data": [[text], [text]]}
    assert request(server, "POST", "/invocations", {"dataframe_split": table}) == (200, {"predictions": [right] * 2})
    pixels = np.asarray(Image.open(io.BytesIO(png)))[None, :, :, None].tolist()
    status, answer = request(server, "POST", "/invocations", {"inputs": pixels})
    assert status == 200
    assert right["probabilities"] == dict(
        zip(Predictor(checkpoint, "cpu").class_names, answer["predictions"][0], strict=True)
    )
    for body, words in (
        ({"inputs": ["%%%"]}, "image 0: is no base64"),
        ({"inputs": [base64.b64encode(png[:60]).decode()]}, "image 0: expected a whole, readable image"),
        ({"inputs": [[1.5]]}, "whole numbers"),
        ({"pictures": [text]}, "inputs"),
        ("{", "JSON"),
    ):
        status, answer = request(server, "POST", "/invocations", body)
        assert 400 <= status < 500, (body, answer)
        assert words in answer["message"]
