"""The files for Ray's cluster launcher and for KubeRay, against Ray's own schema and KubeRay's known fields."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# Of ray.io/v1 in KubeRay 1.5.1, as far as they are of use here.
JOB_FIELDS = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint", "entrypointNumCpus",
    "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "preRunningDeadlineSeconds",
    "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig",
    "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
CLUSTER_FIELDS = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec",
    "headServiceAnnotations", "managedBy", "rayVersion", "suspend", "upgradeStrategy", "workerGroupSpecs",
}  # fmt: skip
HEAD_FIELDS = {"enableIngress", "headService", "labels", "rayStartParams", "resources", "serviceType", "template"}
WORKER_FIELDS = {
    "groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams",
    "replicas", "resources", "scaleStrategy", "suspend", "template",
}  # fmt: skip
POD_FIELDS = {"containers", "initContainers", "securityContext", "volumes", "nodeSelector", "tolerations"}


def launcher() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "ray-cluster.yaml").read_text())
    return tree


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "docker" / "rayjob.yaml").read_text()))


@pytest.fixture(scope="module")
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [each for each in documents if each["kind"] == "RayJob"]
    return found


def test_rays_launcher_takes_the_file() -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(launcher()))
    with pytest.raises(ValidationError, match="unexpected"):  # so the check means something
        validate_config(prepare_config({**launcher(), "dockerr": {}}))


def test_the_launchers_cluster_asks_for_the_token() -> None:
    tree = launcher()
    assert "--env=RAY_AUTH_MODE=token" in tree["docker"]["run_options"]
    assert tree["file_mounts"] == {"/home/plml/.ray/auth_token": "~/.plml-ray-token"}
    assert tree["min_workers"] == tree["max_workers"] == len(tree["provider"]["worker_ips"])


def test_the_job_has_fields_that_kuberay_knows(job: dict[str, Any]) -> None:
    assert job["apiVersion"] == "ray.io/v1"
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert set(spec) <= JOB_FIELDS
    assert set(cluster) <= CLUSTER_FIELDS
    assert set(cluster["headGroupSpec"]) <= HEAD_FIELDS
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
    assert cluster["authOptions"]["mode"] == "token"
    assert Version(cluster["rayVersion"]) == Version(metadata.version("ray"))  # of the image; the lock has it
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())  # KubeRay wants text


def test_pods_are_somebody_without_rights_and_see_the_same_folders(
    job: dict[str, Any], documents: list[dict[str, Any]]
) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    claims = {each["metadata"]["name"]: each for each in documents if each["kind"] == "PersistentVolumeClaim"}
    assert claims["plml-results"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = part["template"]["spec"]
        assert set(pod) <= POD_FIELDS
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000  # of the image
        [container] = pod["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert "wget" not in str(container["readinessProbe"])  # which the image has not
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounts == {"results": "/results", "cache": "/cache", "shm": "/dev/shm"}
        assert {each["name"] for each in pod["volumes"]} == set(mounts)


def test_the_command_of_the_job_is_understood(job: dict[str, Any]) -> None:
    from tune.run import build_parser

    program, script, *arguments = job["spec"]["entrypoint"].split()
    assert (program, script) == ("python", "/app/tune/run.py")
    options = build_parser().parse_args(arguments)
    assert (options.address, options.output_dir) == ("auto", "/results")


def test_images_are_built_as_the_files_say() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert re.search(r"^ARG KUBERAY=0$", dockerfile, re.MULTILINE)
    assert "KUBERAY=1" in (ROOT / "docker" / "rayjob.yaml").read_text()
    assert "KUBERAY=1" in (ROOT / "docker" / "ray-cluster.yaml").read_text()
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert re.search(r"python:3\.11-", dockerfile)
    assert python == ">=3.11"
