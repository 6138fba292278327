"""A cluster that cannot be used is told in one line, within seconds; machines need the environment and nothing else."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from plml.errors import ConfigError
from tune.shipping import check_address, check_cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
March = Callable[..., Any]
# Writes a version into what Ray's head tells those who join.
PRETEND = """
import json, sys, ray
from ray._raylet import GcsClient
head = GcsClient(address=sys.argv[1])
told = json.loads(head.internal_kv_get(b"CLUSTER_METADATA", b"cluster"))
print(json.dumps(told))
told |= json.loads(sys.argv[2])
head.internal_kv_put(b"CLUSTER_METADATA", json.dumps(told).encode(), True, b"cluster")
"""


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there"),
        ("nowhere.invalid:6379", "no Ray cluster answers there"),
        ("10.0.0.1", "must be HOST:PORT"),
        ("ray://10.0.0.1:10001", "start this command on one of its machines"),
        ("local", "leave --address out"),
    ],
)
def test_addresses_where_nobody_is(address: str, rule: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ConfigError, match=rule):
        check_address(address)
    assert time.monotonic() - begin < 10


@pytest.fixture
def web_server() -> Iterator[str]:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_of_another_kind(web_server: str) -> None:
    with pytest.raises(ConfigError, match="what answers there is no Ray cluster"):
        check_cluster(web_server)


def refused(siege: Any, *arguments: str, within_s: float = 150.0) -> str:
    """Return the line with which a command ended."""
    begin = time.monotonic()
    assert siege.run(*arguments) == 2, siege.out()
    assert time.monotonic() - begin < within_s
    errors = [line for line in siege.out().splitlines() if line.startswith("error:")]
    assert len(errors) == 1, siege.out()
    return str(errors[0])


def pretend(cluster: Any, **versions: str) -> dict[str, str]:
    """Have the head say that it runs other versions; return what it said before."""
    command = cluster.inside(sys.executable, "-c", PRETEND, cluster.address, json.dumps(versions))
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_clusters_that_cannot_be_used(cluster: Any, march: March, bare_python: str, tmp_path: Path) -> None:
    siege = march(changes={"n_trials": 2, "resources": {"cpu": 2, "gpu": 0}})
    cluster.add(cpus=2)
    (tmp_path / "other").write_text("abad1dea" * 8)
    siege.environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "other")
    assert "another token" in refused(siege)
    del siege.environment["RAY_AUTH_TOKEN_PATH"]
    for versions, said in [({"ray_version": "2.40.0"}, "runs Ray 2.40.0"), ({"python_version": "3.9.1"}, "Python 3.9")]:
        before = pretend(cluster, **versions)
        assert said in refused(siege)
        pretend(cluster, **before)
    assert "a trial asks for 9 CPU cores, and there are 2" in refused(siege, "--cpus-per-trial", "9")
    assert "a trial asks for 3 GPU, and there are 0" in refused(siege, "--gpus-per-trial", "3")

    cluster.add(cpus=2, hide=[siege.folder], python=bare_python)
    said = refused(siege, within_s=400)
    assert "(10.99.0.2) does not see the study's folder" in said
    assert str(siege.where.path) in said
    assert not list(siege.where.path.glob("trials/*"))

    # What the third machine lacks is the project; the folder it sees. The second is dead, and Ray does not know it yet.
    cluster.add(cpus=2, python=bare_python)
    cluster.machines[1].kill()
    assert siege.run() == 0, siege.out()
    siege.check("machines that have only the environment", 0)
    assert cluster.machines[2].address in {tags["plml.node"] for tags in siege.tags()}
