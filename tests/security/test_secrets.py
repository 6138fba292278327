"""Passwords and tokens: refused in addresses, taken from the environment and from files, and seen nowhere else."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from ablations.run import main as run_grid
from plml.errors import ConfigError
from plml.tracking import TrackingError, check_uri
from plml.tracking_uri import told_secret, without_password
from tune.folders import StudyFolder
from tune.records import open_storage, open_study
from tune.run import main as run_study
from tune.status import main as show_status

ROOT = Path(__file__).parents[2]
SECRET = "hunter2"
ADDRESSES = [
    f"postgresql://me:{SECRET}@host/db",
    f"postgresql+psycopg2://me:{SECRET}@host:5432/db",
    f"postgresql://me:{SECRET}/with@signs@host/db",
    f"postgresql://me:{SECRET}?x@host/db",
    f"postgresql://host/db?user=me&password={SECRET}",
    f"postgresql://host/db?SSLPASSWORD={SECRET}",
    f"mysql+pymysql://me:{SECRET}@host/db",
    f"http://me:{SECRET}@host:5000",
    f"https://{SECRET}@host/mlflow",
    f"https://host/mlflow?token={SECRET}",
]
HARMLESS = [
    "postgresql://me@host/db",
    "postgresql+psycopg2://me@127.0.0.1:5432/db?sslmode=require",
    "sqlite:////home/a:b@c/study.db",
    "http://127.0.0.1:5000",
    "https://host/mlflow",
    "results/small/optuna.log",
    "/data/a@b:c/optuna.log",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_refused_without_repeating_it(address: str) -> None:
    told = told_secret(address, "the storage")
    assert told is not None
    assert SECRET not in told
    assert "host" in told
    assert SECRET not in without_password(address) or address.startswith(f"https://{SECRET}")
    with pytest.raises(TrackingError, match="holds a password") as tracking:
        check_uri(address)
    with pytest.raises(ConfigError, match="holds a password") as storage:
        open_storage(address)
    assert SECRET not in f"{tracking.value}{storage.value}"


@pytest.mark.parametrize("address", HARMLESS)
def test_an_address_without_one_is_not(address: str) -> None:
    assert told_secret(address, "the storage") is None
    assert without_password(address) == address


def test_what_is_said_names_the_place_for_it() -> None:
    assert "PGPASSWORD in the environment, or in the file ~/.pgpass" in str(told_secret(ADDRESSES[0], "x"))
    assert "MLFLOW_TRACKING_TOKEN" in str(told_secret(ADDRESSES[7], "x"))


@pytest.mark.parametrize("option", ["--storage", "--tracking-uri"])
@pytest.mark.parametrize("run", [run_study, run_grid, show_status])
def test_a_password_on_the_command_line_ends_there(
    option: str, run: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    what = "--grid" if run is run_grid else "--study"
    if run is show_status and option == "--tracking-uri":
        option = "--storage"
    with pytest.raises(SystemExit) as ended:
        run([what, "digits", option, ADDRESSES[0]])  # type: ignore[operator]
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "holds a password" in said.err
    assert SECRET not in said.out + said.err
    assert not list(tmp_path.iterdir())


def test_a_storage_that_an_earlier_version_noted_with_its_password(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "small")
    folder.path.mkdir()
    folder.storage_file.write_text(ADDRESSES[1] + "\n")
    with pytest.raises(ConfigError, match="holds a password") as caught:
        open_study(folder)
    assert SECRET not in str(caught.value)


# -- a real study on a real database with a password --------------------------------------------------------------

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
LIMIT_S = 400


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server on loopback that asks for a password.

    Attributes:
        port: of it.
        password: of its user ``plml``.
    """

    port: int
    password: str

    def url(self, name: str) -> str:
        return f"postgresql+psycopg2://plml@127.0.0.1:{self.port}/{name}"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Start a server of our own, as a user that may; it ends with the test."""
    if BINARIES is None:
        pytest.skip("no PostgreSQL server is installed")
    pytest.importorskip("psycopg2")
    password = secrets.token_hex(16)
    base = Path("/tmp") / f"plml-pg-{secrets.token_hex(4)}"  # a short path: the server's socket lies in it
    base.mkdir(mode=0o700)
    (base / "password").write_text(password)
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(base, "nobody")
        shutil.chown(base / "password", "nobody")
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = [*as_user, str(BINARIES / "initdb"), "-D", str(base / "data"), "-U", "plml", "-A", "scram-sha-256"]
    subprocess.run([*made, f"--pwfile={base / 'password'}", "-N"], check=True, cwd=base, stdout=subprocess.DEVNULL)
    (base / "password").unlink()
    server = [*as_user, str(BINARIES / "postgres"), "-D", str(base / "data"), "-p", str(port), "-k", str(base)]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [*server, "-c", "listen_addresses=127.0.0.1", "-F"], cwd=base, stdout=log, stderr=log
        )
    try:
        create(port, password, ["optuna", "mlflow"])
        yield Database(port, password)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(base, ignore_errors=True)


def create(port: int, password: str, names: list[str]) -> None:
    import psycopg2

    for _ in range(100):
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user="plml", password=password, dbname="postgres"
            )
            break
        except psycopg2.OperationalError:
            time.sleep(0.2)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"CREATE DATABASE {name}")
    connection.close()


def tables_with(database: Database, name: str, text: str) -> list[str]:
    """Return the tables of a database that hold ``text`` anywhere, and how many were searched as the last."""
    import psycopg2

    connection = psycopg2.connect(
        host="127.0.0.1", port=database.port, user="plml", password=database.password, dbname=name
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        assert len(tables) > 5
        found = []
        for table in tables:
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', (f"%{text}%",))
            found += [table] if cursor.fetchone()[0] else []
        return found


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def command_lines(pid: int) -> str:
    """What everybody on the machine may read of a process and all that it started."""
    lines = []
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                lines.append(" ".join(process.cmdline()))
    return "\n".join(lines)


@pytest.mark.cluster
@pytest.mark.parametrize("given", ["environment", "file"])
def test_a_study_on_a_database_leaves_its_password_nowhere(
    database: Database, tmp_path: Path, given: str, request: pytest.FixtureRequest
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    ray = Path(tempfile.mkdtemp(prefix="plml-ray-", dir="/tmp"))  # a short path: Ray's sockets lie in it
    request.addfinalizer(lambda: shutil.rmtree(ray, ignore_errors=True))
    environment = {**os.environ, "HOME": str(home), "RAY_TMPDIR": str(ray), "NO_COLOR": "1"}
    for name in ("PGPASSWORD", "PGPASSFILE"):
        environment.pop(name, None)
    if given == "environment":
        environment["PGPASSWORD"] = database.password
    else:
        (home / ".pgpass").write_text(f"127.0.0.1:{database.port}:*:plml:{database.password}\n")
        (home / ".pgpass").chmod(0o600)
    study = {
        "base": {"epochs": 2, "data": {"name": "digits", "options": {"num_train": 80, "num_val": 40, "num_test": 40}}},
        "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
        "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
        "n_trials": 3,
        "track": {"system_metrics": True},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, str(ROOT / "tune" / "run.py"), "--study", str(tmp_path / "small.yaml")]
    command += ["--storage", database.url("optuna"), "--tracking-uri", database.url("mlflow")]
    command += ["--output-dir", str(tmp_path / "results")]
    with (tmp_path / "said.txt").open("wb") as said:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=subprocess.STDOUT)
    seen, until = "", time.monotonic() + LIMIT_S
    while driver.poll() is None:
        seen += command_lines(driver.pid)
        assert time.monotonic() < until, (tmp_path / "said.txt").read_text()
        time.sleep(0.5)
    told = (tmp_path / "said.txt").read_text()
    assert driver.returncode == 0, told
    assert "raylet" in seen  # so that we did look
    assert database.url("optuna") in (tmp_path / "results" / "small" / "storage.txt").read_text()
    assert database.password not in seen + told
    expected = [home / ".pgpass"] if given == "file" else []
    assert files_with(tmp_path, database.password) == expected
    assert files_with(ray, "small")  # the logs of Ray are there, and searched
    assert not files_with(ray, database.password)
    for name in ("optuna", "mlflow"):
        assert tables_with(database, name, "small")  # the search finds what is there
        assert not tables_with(database, name, database.password)


@pytest.mark.cluster
def test_a_wrong_password_is_an_error_without_it(database: Database, tmp_path: Path) -> None:
    wrong = secrets.token_hex(16)
    environment = {**os.environ, "PGPASSWORD": wrong, "HOME": str(tmp_path)}
    code = "import sys; from tune.records import open_storage; open_storage(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", code, database.url("optuna")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "password authentication failed" in ended.stderr
    assert wrong not in ended.stdout + ended.stderr
