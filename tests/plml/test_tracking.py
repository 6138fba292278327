"""Tracking against real stores: a SQLite file and an MLflow server that is started, killed and started again here."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from plml.report import EpochReport
from plml.tracking import RunLogger, Tracker, TrackingError, check_uri, flat_params
from plml.tracking_calls import bounded
from plml.tracking_format import batches, metric_points
from plml.tracking_pages import Pages
from plml.tracking_uri import without_password


class Server:
    """An MLflow server on the loopback; it and its workers are a process group of their own."""

    def __init__(self, folder: Path) -> None:
        self.database = f"sqlite:///{folder}/served.db"
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "served_artifacts")]
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        pytest.fail("the MLflow server did not start: " + (self.folder / "server.log").read_text())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(f"sqlite:///{tmp_path_factory.mktemp('store with blanks')}/deep/er/mlflow.db")


@pytest.fixture(params=["sqlite", "server"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite")
    return Tracker(request.getfixturevalue("server").uri)


@pytest.fixture
def experiment(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    return tracker.open_experiment(f"plml/{request.node.name}")


def reports(count: int, start: int = 0) -> list[EpochReport]:
    return [
        EpochReport(
            epoch,
            {"train/loss": 1 / (epoch + 1), "val/mAP": 100 / 3 + epoch / 7, "selection/best": 0.1 * epoch},
            1_700_000_000 + epoch / 3,
        )
        for epoch in range(start, start + count)
    ]


def history(tracker: Tracker, run: str, key: str) -> list[tuple[int, float]]:
    assert tracker._client is not None
    return sorted((point.step, point.value) for point in tracker._client.get_metric_history(run, key))


def told(given: list[EpochReport], key: str) -> list[tuple[int, float]]:
    return [(report.epoch, report.metrics[key]) for report in given]


# -- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    ["sqlite:////data/x.db", "sqlite:////a b/x.db", "https://host", "http://h:5000", "postgresql+psycopg2://u@h/db"],
)
def test_absolute_uris_pass_unchanged(uri: str) -> None:
    assert check_uri(f" {uri} ") == uri


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///runs/x.db", "{cwd}/runs/x.db"),
        ("sqlite:x.db", "{cwd}/x.db"),
        ("sqlite://", "{cwd}/mlflow.db"),
        ("sqlite:///:memory:", "{cwd}/mlflow.db"),
        ("mlruns", "{cwd}/mlruns/mlflow.db"),
        ("./mlruns/", "{cwd}/mlruns/mlflow.db"),
        ("file:///data/mlruns", "/data/mlruns/mlflow.db"),
        ("/data/mlruns", "/data/mlruns/mlflow.db"),
        ("my.db", "{cwd}/my.db"),
        ("ftp://host", "{cwd}/mlflow.db"),
    ],
)
def test_every_other_uri_is_refused_with_the_text_to_type(
    uri: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError) as caught:
        Tracker(uri)
    advice = "sqlite:///" + path.format(cwd=tmp_path)
    assert str(caught.value).endswith(f"type {advice}")
    assert check_uri(advice) == advice


def test_links_lead_to_the_server_or_to_where_the_printed_command_serves(tmp_path: Path) -> None:
    local, remote = Pages(f"sqlite:///{tmp_path}/a b.db"), Pages("https://host/mlflow")
    assert local.ui_command is not None
    assert shlex.split(local.ui_command)[-6:] == [
        "--backend-store-uri",
        local.uri,
        "--host",
        "127.0.0.1",
        "--port",
        "5000",
    ]
    assert remote.ui_command is None
    assert local.experiment_url("7").startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert remote.table_url("7").startswith("https://host/mlflow/#/experiments/7/runs?")
    query = parse_qs(remote.compare_url("7", ["a1", "b2"]).partition("?")[2])
    assert (json.loads(query["runs"][0]), json.loads(query["experiments"][0])) == (["a1", "b2"], ["7"])


def test_links_lead_to_where_a_browser_finds_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLML_MLFLOW_PAGES", "http://127.0.0.1:5001/")
    assert Pages("http://mlflow:5000").run_url("7", "a").startswith("http://127.0.0.1:5001/#/experiments/7/runs/a")
    assert Pages("sqlite:///mlflow.db").run_url("7", "a").startswith("http://127.0.0.1:5000/#/")
    monkeypatch.setenv("PLML_MLFLOW_PAGES", "")
    assert Pages("http://mlflow:5000").run_url("7", "a").startswith("http://mlflow:5000/#/")


def test_passwords_are_not_printed() -> None:
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert without_password("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    with pytest.raises(TrackingError) as caught:
        Tracker("postgresql+psycopg2://me:secret@127.0.0.1:1/db", timeout_s=0.05).set_tags("0" * 32, {"a": "b"})
    assert "secret" not in str(caught.value)


# -- what is told -----------------------------------------------------------------------------------------


def test_parameters_become_text() -> None:
    given = {
        "a": None,
        "b": True,
        "c": [1, 2],
        "d": 1e-4,
        "e": {"x": None},
        "f": "text",
        "g": "x" * 7000,
        "h": (1, "y"),
    }
    texts = flat_params(given)
    assert texts == {**texts, "a": "none", "b": "true", "c": "[1, 2]", "d": "0.0001", "e": '{"x": null}', "f": "text"}
    assert texts["h"] == '[1, "y"]'
    assert len(texts["g"]) == 6000


def test_logarithms_and_method_are_added_for_the_compare_page() -> None:
    given = {"optim.lr": 1e-3, "method.weight": 0.0, "method.name": "role", "epochs": 10}
    texts = flat_params(given, ["optim.lr", "method.weight", "absent.path"])
    assert texts["log10 optim.lr"] == "-3.0000"
    assert texts["Method"] == "role"
    assert set(texts) == {*given, "log10 optim.lr", "Method"}  # zero has no logarithm
    assert sorted(texts)[0] == "Method"  # the page draws the first three by name


def test_points_are_finite_and_begin_with_the_selection() -> None:
    report = EpochReport(3, {"train/loss": float("nan"), "x": float("inf"), "a": 1, "selection/best": 5.0}, 1.0004)
    assert metric_points(report) == [
        ("selection/best", 5.0, 1000, 3),
        ("a", 1.0, 1000, 3),
        ("time/epoch", 3.0, 1000, 3),
    ]


def test_batches_keep_the_limit_and_never_tear_a_report() -> None:
    given = [EpochReport(i, {f"m{j}": 0.0 for j in range(299)}, float(i)) for i in range(10)]
    grouped = batches(given)
    assert [len(batch) for batch in grouped] == [3, 3, 3, 1]
    assert [report for batch in grouped for report in batch] == given


def test_a_bounded_call_returns_raises_or_times_out() -> None:
    assert bounded(lambda: 7, 5) == 7
    with pytest.raises(KeyError, match="k"):
        bounded(lambda: {}["k"], 5)
    release, began = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.2 s"):
        bounded(release.wait, 0.2)
    assert time.monotonic() - began < 2
    release.set()


# -- both stores ------------------------------------------------------------------------------------------


def test_experiment_is_opened_again_not_doubled(tracker: Tracker, experiment: str) -> None:
    name = tracker._client.get_experiment(experiment).name  # type: ignore[union-attr]
    assert tracker.open_experiment(name) == experiment


def test_a_report_told_twice_leaves_one_point(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "role-0001", params={}, tags={})
    given = reports(12)
    tracker.log_reports(run, given[:5])
    tracker.log_reports(run, given[3:])
    RunLogger(tracker.uri, run).log(given[7])
    tracker.log_reports(run, given)
    for key in ("val/mAP", "selection/best", "train/loss"):
        assert history(tracker, run, key) == told(given, key)
    assert tracker.delivered_epochs(run) == set(range(12))


def test_missing_epochs_are_known_and_back_filled(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "role-0002", params={}, tags={})
    given = reports(8)
    tracker.log_reports(run, [given[0], given[3], given[7]])
    missing = set(range(8)) - tracker.delivered_epochs(run)
    assert missing == {1, 2, 4, 5, 6}
    tracker.log_reports(run, [given[epoch] for epoch in missing])
    assert history(tracker, run, "val/mAP") == told(given, "val/mAP")
    latest = tracker._client.get_run(run).data.metrics  # type: ignore[union-attr]
    assert latest["val/mAP"] == given[7].metrics["val/mAP"]  # not the one that was written last


def test_many_and_long_parameters(tracker: Tracker, experiment: str) -> None:
    given = {f"data.options.key_{i}": [i] * (3 * i) for i in range(200)} | {"long": "y" * 9000}
    run = tracker.create_run(experiment, "an-0003", params=given, tags={"plml.kind": "trial"})
    stored = tracker._client.get_run(run).data.params  # type: ignore[union-attr]
    assert len(stored) == 201
    assert stored["long"] == "y" * 6000
    assert json.loads(stored["data.options.key_199"]) == [199] * 597


def test_more_points_than_a_batch_holds(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "an-0004", params={}, tags={})
    given = [EpochReport(i, {f"m/{j}": float(i + j) for j in range(150)}, float(i + 1)) for i in range(20)]
    tracker.log_reports(run, given)
    assert tracker.delivered_epochs(run) == set(range(20))
    assert history(tracker, run, "m/149") == told(given, "m/149")


def test_parameters_that_a_killed_driver_left_out_are_completed(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "an-0006", params={"a": 1}, tags={})
    tracker.complete_params(run, {"a": 2, "optim.lr": 0.01}, log_scaled=["optim.lr"])
    stored = tracker._client.get_run(run).data.params  # type: ignore[union-attr]
    assert stored == {"a": "1", "optim.lr": "0.01", "log10 optim.lr": "-2.0000"}


def test_run_life(tracker: Tracker, experiment: str) -> None:
    runs = [tracker.create_run(experiment, f"r{i}", params={}, tags={"plml.key": f"{i}"}) for i in range(3)]
    assert tracker.run_states(experiment) == dict.fromkeys(runs, "RUNNING")
    tracker.end_run(runs[0], "FINISHED", {"plml.state": "PRUNED"})
    tracker.end_run(runs[1], "KILLED")
    states = tracker.run_states(experiment)
    assert [states[run] for run in runs] == ["FINISHED", "KILLED", "RUNNING"]
    tracker.reopen_run(runs[0])
    assert tracker.run_states(experiment)[runs[0]] == "RUNNING"
    tracker.log_reports(runs[0], reports(1))  # a reopened run takes metrics
    tracker.end_run(runs[0], "FAILED")
    assert tracker._client.get_run(runs[0]).data.tags["plml.state"] == "PRUNED"  # type: ignore[union-attr]
    assert tracker.find_runs(experiment, {"plml.key": "1"}) == [runs[1]]
    tracker.delete_run(runs[1])
    assert set(tracker.run_states(experiment)) == {runs[0], runs[2]}
    assert tracker.experiment_of(runs[0]) == experiment
    assert tracker.run_tags(experiment)[runs[2]]["plml.key"] == "2"


def test_artifacts_and_data_set(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    run = tracker.create_run(experiment, "role-0005", params={}, tags={})
    file = tmp_path / "best model.pt"
    file.write_bytes(bytes(range(256)) * 100)
    tracker.log_artifact(run, file, "checkpoint")
    tracker.log_text(run, "a: 1\n", "best.yaml")
    tracker.log_dataset(run, name="digits", digest="d" * 64, setting="single_positive")
    client = tracker._client
    assert client is not None
    found = {item.path for item in [*client.list_artifacts(run), *client.list_artifacts(run, "checkpoint")]}
    assert found == {"checkpoint", "checkpoint/best model.pt", "best.yaml"}
    (tmp_path / "back").mkdir()
    back = Path(client.download_artifacts(run, "checkpoint/best model.pt", str(tmp_path / "back")))
    assert back.read_bytes() == file.read_bytes()
    inputs = client.get_run(run).inputs.dataset_inputs
    assert [(item.dataset.name, item.dataset.digest) for item in inputs] == [("digits", "d" * 36)]
    with pytest.raises(TrackingError, match="is not a file"):
        tracker.log_artifact(run, tmp_path / "absent.pt")


def test_the_page_a_link_opens_on_is_stored_with_the_experiment(tracker: Tracker, experiment: str) -> None:
    tracker.publish_view(experiment, metric="val/mAP", maximize=True, axes=["log10 optim.lr"], columns=["optim.lr"])
    tags = tracker._client.get_experiment(experiment).tags  # type: ignore[union-attr]
    state = json.loads(tags["mlflow.sharedViewState.plml"])
    assert state["orderByKey"] == "metrics.`val/mAP`"
    assert state["orderByAsc"] is False
    assert "params.`optim.lr`" in state["selectedColumns"]
    assert state["compareRunCharts"][0]["selectedParams"] == ["log10 optim.lr"]


def test_concurrent_processes_write_to_one_file(sqlite: Tracker) -> None:
    """Three trials at once, each from a process of its own, as Ray runs them."""
    experiment = sqlite.open_experiment("plml/processes")
    runs = [sqlite.create_run(experiment, f"w{i}", params={}, tags={}) for i in range(3)]
    program = (
        "import sys; from plml.report import EpochReport; from plml.tracking import RunLogger\n"
        "logger = RunLogger(sys.argv[1], sys.argv[2], timeout_s=60)\n"
        "for e in range(15): logger.log(EpochReport(e, {'val/mAP': e / 3, 'train/loss': 1.0 / (e + 1)}, 1e9 + e))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, sqlite.uri, run]) for run in runs]
    assert [process.wait(timeout=120) for process in started] == [0] * 3
    for run in runs:
        assert history(sqlite, run, "val/mAP") == [(epoch, epoch / 3) for epoch in range(15)]


def test_concurrent_writers_to_one_server(server: Server) -> None:
    tracker = Tracker(server.uri, timeout_s=60)
    experiment = tracker.open_experiment("plml/writers")
    runs = [tracker.create_run(experiment, f"w{i}", params={}, tags={}) for i in range(8)]
    given = reports(10)

    def write(run: str) -> None:
        logger = RunLogger(server.uri, run, timeout_s=60)
        for report in given:
            logger.log(report)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, runs))
    for run in runs:
        assert history(tracker, run, "val/mAP") == told(given, "val/mAP")


# -- SQLite -----------------------------------------------------------------------------------------------


def test_artifacts_lie_beside_the_database(sqlite: Tracker) -> None:
    identifier = sqlite.open_experiment("plml/place")
    run = sqlite.create_run(identifier, "r", params={}, tags={})
    sqlite.log_text(run, "hello", "a.txt")
    database = Path(sqlite.uri.removeprefix("sqlite:///"))
    assert (database.parent / "mlartifacts" / run / "artifacts" / "a.txt").read_text() == "hello"


def test_a_locked_database_delays_training_no_longer_than_allowed(
    sqlite: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    run = sqlite.create_run(sqlite.open_experiment("plml/locked"), "r", params={}, tags={})
    given = reports(6)
    logger = RunLogger(sqlite.uri, run, timeout_s=0.5, quiet_s=0.4)
    lock = sqlite3.connect(sqlite.uri.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        began = time.monotonic()
        for report in given[:4]:  # the first waits, the others come while it is quiet
            logger.log(report)
        assert 0.4 < time.monotonic() - began < 1.5
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    assert len([record for record in caplog.records if "delivered later" in record.message]) == 1
    time.sleep(0.5)
    logger.log(given[4])  # tells what it could not tell before
    assert sqlite.delivered_epochs(run) == {0, 1, 2, 3, 4}


def test_errors_name_store_and_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be made"):
        Tracker(f"sqlite:///{tmp_path}/file/x.db").open_experiment("plml/x")
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    broken = Tracker(f"sqlite:///{tmp_path}/broken.db")
    with pytest.raises(TrackingError, match=r"could not open experiment 'plml/x' at sqlite:.*not a database"):
        broken.open_experiment("plml/x")


def test_what_a_database_says_is_told_in_a_line_and_printed_by_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mlflow.db"
    tracker = Tracker(f"sqlite:///{file}")
    run = tracker.create_run(tracker.open_experiment("e"), "r", params={}, tags={})
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TRIGGER no BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'disk of stone'); END")
        database.commit()
    with pytest.raises(TrackingError) as error:
        tracker.end_run(run, "FINISHED")
    assert str(error.value) == f"could not end run {run} at sqlite:///{file}: disk of stone"
    assert capfd.readouterr() == ("", "")


def test_another_schema_version_says_how_to_upgrade(sqlite: Tracker, tmp_path: Path) -> None:
    sqlite.open_experiment("plml/schema")
    shutil.copy(sqlite.uri.removeprefix("sqlite:///"), tmp_path / "old.db")
    database = sqlite3.connect(tmp_path / "old.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = 'c48cb773bb87'")
    database.close()
    old = Tracker(f"sqlite:///{tmp_path}/old.db")
    with pytest.raises(TrackingError, match=f"type: mlflow db upgrade '{old.uri}'"):
        old.open_experiment("plml/schema")


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(sqlite: Tracker) -> None:
    identifier = sqlite.open_experiment("plml/deleted")
    sqlite._client.delete_experiment(identifier)  # type: ignore[union-attr]
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {identifier}"):
        sqlite.open_experiment("plml/deleted")


def test_without_uri_or_run_nothing_is_written() -> None:
    RunLogger(None, None).log(reports(1)[0])
    RunLogger("sqlite:////nowhere/x.db", None).log(reports(1)[0])


def test_an_unusable_store_never_reaches_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = RunLogger(f"sqlite:///{tmp_path}/missing/folder/x.db", "0" * 32, timeout_s=0.5)
    for report in reports(3):
        logger.log(report)
    assert len([record for record in caplog.records if "delivered later" in record.message]) == 1


# -- the server goes away ---------------------------------------------------------------------------------


def test_a_killed_server_costs_seconds_and_loses_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(server.uri, timeout_s=3)
    run = tracker.create_run(tracker.open_experiment("plml/killed"), "r", params={}, tags={})
    given = reports(20)
    logger = RunLogger(server.uri, run, timeout_s=1.5, quiet_s=600)
    for report in given[:6]:
        logger.log(report)
    try:
        server.kill()
        waits = []
        for report in given[6:12]:
            began = time.monotonic()
            logger.log(report)
            waits.append(time.monotonic() - began)
        assert max(waits) < 2.5
        assert sum(waits) < 3.5  # the circuit is open after the first
        with pytest.raises(TrackingError, match=server.uri):
            tracker.delivered_epochs(run)
        assert len([record for record in caplog.records if "delivered later" in record.message]) == 1
    finally:
        server.start()
    assert tracker.delivered_epochs(run) == set(range(6))
    missing = set(range(20)) - tracker.delivered_epochs(run)
    tracker.log_reports(run, [given[epoch] for epoch in sorted(missing)])
    tracker.end_run(run, "FINISHED")
    assert history(tracker, run, "val/mAP") == told(given, "val/mAP")


def test_a_hanging_server_costs_no_more_than_the_limit(server: Server) -> None:
    tracker = Tracker(server.uri, timeout_s=1.0)
    run = tracker.create_run(tracker.open_experiment("plml/hanging"), "r", params={}, tags={})
    given = reports(5)
    logger = RunLogger(server.uri, run, timeout_s=1.0, quiet_s=600)
    logger.log(given[0])
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for report in given[1:4]:
            logger.log(report)
        assert time.monotonic() - began < 2.0
        with pytest.raises(TrackingError, match="no answer within 1 s"):
            tracker.set_tags(run, {"a": "b"})
    finally:
        server.signal(signal.SIGCONT)
    patient = Tracker(server.uri, timeout_s=30)
    patient.log_reports(run, given)
    assert history(patient, run, "train/loss") == told(given, "train/loss")
