"""What Dockerfile and compose files must hold, read from the files themselves: no container is started."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
NOT_IN_THE_IMAGE = {"dev", "docs", "export"}  # what develops, documents and converts
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY$")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return tree


FILES = ("compose.yaml", "compose.gpu.yaml", "compose.s3.yaml")
SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("localhost/plml:"))
on_each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and what they are given, continued lines joined, comments left out."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def given(instruction: str) -> list[str]:
    return [rest for word, rest in instructions() if word == instruction]


def locked() -> dict[str, set[str]]:
    """Return the versions of each package that the lock names, one for each Python it serves."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition(";")[0].strip().partition("==")
            found.setdefault(canonicalize_name(name), set()).add(version)
    return found


# -- compose ----------------------------------------------------------------------------------------------


@on_each_service
def test_each_service_has_a_health_check_limits_and_a_restart_policy(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"]
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"])
    assert re.fullmatch(r"unless-stopped|on-failure:\d+", service["restart"])
    assert "no-new-privileges:true" in service["security_opt"]


def test_ports_are_published_on_loopback_only_and_rays_not_at_all() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"mlflow", "optuna-dashboard"}
    for port in (port for ports in published.values() for port in ports):
        assert port.startswith("127.0.0.1:"), port


@on_each_service
def test_no_service_reaches_for_the_host(service: dict[str, Any]) -> None:
    assert not {"privileged", "network_mode", "pid", "ipc", "userns_mode", "devices", "cap_add"} & set(service)
    for volume in service.get("volumes", ()):
        source = volume.partition(":")[0] if not volume.startswith("$") else "data"
        assert source in compose()["volumes"], volume


@pytest.mark.parametrize("name", OURS)
def test_services_of_ours_have_no_capabilities_and_reap_what_is_left(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["init"] is True


def test_services_wait_for_the_health_of_others_in_an_order_that_ends() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    for wanted in waits.values():
        assert {each["condition"] for each in wanted.values()} <= {"service_healthy"}
    assert set(waits["runner"]) == {"mlflow", "ray-head", "ray-worker"}
    assert set(waits["ray-worker"]) == {"ray-head"}
    assert set(waits["mlflow"]) == {"postgres"}
    assert "sleep" not in (DOCKER / "compose.yaml").read_text()


def test_images_are_ours_or_have_a_version() -> None:
    for name, service in SERVICES.items():
        image = VARIABLE.sub(lambda found: found[3], service["image"])
        tag = image.rpartition(":")[2]
        assert "/" in image, f"{name}: {image} leaves the registry to the program"
        assert "/" not in tag, f"{name}: {image} has no tag"
        assert tag != "latest", image


def test_no_secret_has_a_default() -> None:
    for text in ((DOCKER / name).read_text() for name in FILES):
        for name, kind, default in VARIABLE.findall(text):
            if SECRET.search(name):
                assert kind == "?", f"{name} must be asked for"
                assert default
    everything = [*SERVICES.values(), *compose("compose.s3.yaml")["services"].values()]
    for service in everything:
        for key, value in service.get("environment", {}).items():
            assert not SECRET.search(key) or str(value).startswith("${"), f"{key} is written down"
        assert "env_file" not in service  # a service gets the secrets that it needs, not all there are


def test_each_part_gets_only_its_own_secrets() -> None:
    owners = {"POSTGRES_PASSWORD": {"postgres", "mlflow"}, "RAY_AUTH_TOKEN": {"ray-head", "ray-worker", "runner"}}
    for secret, owning in owners.items():
        assert {name for name, service in SERVICES.items() if f"${{{secret}" in str(service)} == owning


def test_every_machine_of_ray_asks_for_the_token() -> None:
    for name, service in SERVICES.items():
        if "ray start" in " ".join(service.get("command", ())) or "RAY_HEAD" in service.get("environment", {}):
            assert service["environment"]["RAY_AUTH_MODE"] == "token", name
            assert "RAY_AUTH_TOKEN" in service["environment"], name


def test_the_example_names_every_variable_with_its_default_and_no_secret() -> None:
    text = (DOCKER / "env.example").read_text()
    shown = dict(re.findall(r"^#?([A-Z0-9_]+)=(\S*)", text, re.MULTILINE))
    used: dict[str, str] = {}
    for file in FILES:  # compose.yaml first: its default holds unless another file wants the variable given
        for name, kind, default in VARIABLE.findall((DOCKER / file).read_text()):
            used.setdefault(name, default if kind == "-" else "")
    del used["POSTGRES_IMAGE"]  # for tests
    assert set(shown) == set(used)
    for name, default in used.items():
        assert shown[name] == default or name == "PLML_DATA", name
    assert [name for name in shown if SECRET.search(name) and shown[name]] == []


def test_git_ignores_the_file_of_secrets() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    asked = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT, check=False)
    assert asked.returncode == 0
    tracked = subprocess.run(["git", "ls-files", "docker"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "docker/.env\n" not in tracked


def test_one_image_is_built_once_and_asked_of_no_registry() -> None:
    assert [name for name in OURS if "build" in SERVICES[name]] == ["mlflow"]
    assert {SERVICES[name]["image"] for name in OURS} == {SERVICES["mlflow"]["image"]}
    assert {name for name in OURS if SERVICES[name]["pull_policy"] != "never"} == {"mlflow"}
    assert len(OURS) == len(SERVICES) - 1


def test_gpus_go_to_one_worker() -> None:
    services = compose("compose.gpu.yaml")["services"]
    assert set(services) == {"ray-worker"}
    deploy = services["ray-worker"]["deploy"]
    assert deploy["replicas"] == 1
    assert deploy["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    # Limits of the other file are for one core: with those, GPUs beyond the first would never get a trial.
    limits = deploy["resources"]["limits"]
    assert limits["cpus"].startswith("${WORKER_CPUS:?")
    assert limits["memory"].startswith("${WORKER_MEMORY:?")
    assert any("WORKER_CPUS" in word for word in SERVICES["ray-worker"]["command"])


def test_keys_of_s3_are_the_servers_alone() -> None:
    services = compose("compose.s3.yaml")["services"]
    assert set(services) == {"mlflow"}
    assert "MLFLOW_ARTIFACTS_DESTINATION" in SERVICES["mlflow"]["environment"]  # which this file replaces
    assert "--serve-artifacts" in SERVICES["mlflow"]["command"]


# -- Dockerfile -------------------------------------------------------------------------------------------


def test_the_image_has_every_extra_that_runs() -> None:
    [extras] = [rest for rest in given("ARG") if rest.startswith("EXTRAS=")]
    names = extras.partition("=")[2].strip('"').split()
    assert set(names) == set(PROJECT["optional-dependencies"]) - NOT_IN_THE_IMAGE


def closure(wanted: Iterator[str]) -> set[str]:
    """Return all packages that requirements ask for here, as they are installed."""
    left, seen = [Requirement(each) for each in wanted], set()
    names = set()
    while left:
        asked = left.pop()
        for extra in ("", *asked.extras):
            if (canonicalize_name(asked.name), extra) in seen:
                continue
            seen.add((canonicalize_name(asked.name), extra))
            names.add(canonicalize_name(asked.name))
            try:
                needs = [Requirement(each) for each in metadata.requires(asked.name) or []]
            except metadata.PackageNotFoundError:  # it is not for this machine
                continue
            left += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]
    return names


def test_what_is_installed_is_locked_and_has_no_development_tools() -> None:
    extras = set(PROJECT["optional-dependencies"]) - NOT_IN_THE_IMAGE
    wanted = [*PROJECT["dependencies"], *(each for name in extras for each in PROJECT["optional-dependencies"][name])]
    packages = closure(iter(wanted))
    assert packages - set(locked()) == set()
    tools = {canonicalize_name(Requirement(each).name) for each in PROJECT["optional-dependencies"]["dev"]}
    assert packages & tools == set()
    assert {"torch", "ray", "mlflow", "optuna", "psycopg2-binary", "s3fs", "cmaes", "optuna-dashboard"} <= packages
    [install] = [rest for rest in given("RUN") if "uv pip install" in rest]
    assert "-r pyproject.toml" in install
    assert "-c requirements.lock" in install


def test_what_kuberay_needs_is_pinned_and_not_locked_twice() -> None:
    lines = [line for line in (DOCKER / "kuberay.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "ray[default]"
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line) for line in lines[1:])
    assert {line.partition("==")[0] for line in lines[1:]} & set(locked()) == set()
    here = {canonicalize_name(line.partition("==")[0]) for line in lines[1:]} | set(locked())
    default = [Requirement(each) for each in metadata.requires("ray") or []]
    asked = {each.name for each in default if each.marker is None or each.marker.evaluate({"extra": "default"})}
    assert {canonicalize_name(name) for name in asked} <= here


def test_what_the_cpu_image_leaves_out_is_known_and_is_not_asked_for_by_us() -> None:
    left_out = [line for line in (DOCKER / "cpu-excludes.txt").read_text().splitlines() if not line.startswith("#")]
    assert left_out
    assert set(left_out) <= set(locked())
    assert all(name == "triton" or name.startswith("nvidia-") for name in left_out)  # tests run the image without them


def test_the_image_is_built_by_root_and_run_by_somebody_else() -> None:
    assert given("USER") == ["plml"]
    users = [word for word, _ in instructions() if word in ("USER", "RUN", "COPY")]
    assert users[-1] == "USER"
    assert given("ADD") == []


def copied(stage: list[tuple[str, str]]) -> list[str]:
    """Return what a stage takes from the context."""
    return [source for word, rest in stage if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]]


def test_packages_are_a_stage_of_their_own_and_come_before_code() -> None:
    steps = instructions()
    [first, second] = [i for i, (word, _) in enumerate(steps) if word == "FROM"]
    packages, image = steps[first:second], steps[second:]
    assert any("uv pip install" in rest for _, rest in packages)
    assert set(copied(packages)) == {
        "pyproject.toml", "requirements.lock", "docker/cpu-excludes.txt", "docker/kuberay.txt",
    }  # fmt: skip
    taken = image.index(("COPY", "--from=packages /opt/venv /opt/venv"))
    assert copied(image[:taken]) == []  # code that changes makes no copy of gigabytes
    assert {"plml", "tune", "ablations"} <= set(copied(image))
    assert not any(word == "ARG" and not rest.startswith("UID=") for word, rest in image)


def test_only_what_is_named_is_in_the_context() -> None:
    named = set(copied(instructions()))
    for source in named:
        assert (ROOT / source).exists()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == named


def test_nobodys_network_is_written_down() -> None:
    for word, rest in instructions():
        assert "://" not in rest, f"{word} {rest}"
        assert word != "ARG" or not SECRET.search(rest), rest  # arguments stay in an image's history
    for image in given("FROM"):
        assert image.split()[0] == "${BASE_IMAGE}"
    for install in (rest for rest in given("RUN") if " install -q" in rest and "--no-index" not in rest):
        assert "type=secret,id=build_env" in install
        assert "type=secret,id=ca" in install
