"""deploy/examples: objects that Kubernetes takes, command lines that the programs take, names that the chart makes."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.deploy.rendering import ROOT, render, value_sets
from tests.deploy.schemas import VERSIONS, check

pytestmark = pytest.mark.chart

EXAMPLES = ROOT / "deploy" / "examples"
OBJECTS = {
    f"{path.name}:{each['kind']}:{each['metadata']['name']}": each
    for path in sorted(EXAMPLES.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
}


def _job(name: str) -> dict[str, Any]:
    return OBJECTS[f"training-job.yaml:Job:{name}"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_what_its_kind_takes(name, version):
    check(OBJECTS[name], version)


def test_a_misspelt_field_of_a_ray_cluster_is_found():
    cluster = OBJECTS["raycluster.yaml:RayCluster:syllabus-ray"]
    for wrong in (
        {**cluster, "spec": {**cluster["spec"], "headGroup": {}}},
        {**cluster, "spec": {"rayVersion": "2.60.0"}},
        yaml.safe_load(yaml.safe_dump(cluster).replace("containerPort", "contanerPort")),
        yaml.safe_load(yaml.safe_dump(cluster).replace("'6380'", "6380", 1)),
    ):
        with pytest.raises(Exception, match=r"headGroup|missing|contanerPort|expected strings"):
            check(wrong, VERSIONS[0])


@pytest.mark.parametrize("name", ["training-workers", "training-learner"])
def test_the_programs_take_the_jobs_arguments(name):
    (container,) = _job(name)["template"]["spec"]["containers"]
    program, *arguments = [each.replace("$(WORKER)", "0") for each in container["args"]]
    # argparse ends with 2 where it does not know an argument, and --help only with 0 where all before it were right
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = set(re.findall(r"--[a-z]+", done.stdout))
    assert {argument.partition("=")[0] for argument in arguments} <= told
    required = set(re.findall(r"(?<!\[)(--[a-z]+) [A-Z]+(?!\])", done.stdout.partition("options:")[0]))
    assert required <= {argument.partition("=")[0] for argument in arguments}


def test_there_are_as_many_workers_as_everybody_is_told():
    workers = _job("training-workers")
    assert workers["completionMode"] == "Indexed"
    assert workers["completions"] == workers["parallelism"]
    for name in ("training-workers", "training-learner"):
        (container,) = _job(name)["template"]["spec"]["containers"]
        assert f"--workers={workers['completions']}" in container["args"]


def test_the_jobs_find_the_service_and_the_curriculum_of_the_charts_first_value_set():
    told = OBJECTS["training-job.yaml:ConfigMap:training-syllabus"]["data"]
    release = render(value_sets()["single"])
    host, port = told["SYLLABUS_TARGET"].split(":")
    assert int(port) == release.one("Service")["spec"]["ports"][0]["port"]
    assert host.split(".")[0] == "syllabus"  # a release of the chart's own name gives its objects just that name
    assert (
        told["SYLLABUS_CURRICULUM"]
        in yaml.safe_load(release.of_kind("ConfigMap")[0]["data"]["curricula.yaml"])["curricula"]
    )
    for name in ("training-workers", "training-learner"):
        assert _job(name)["template"]["metadata"]["labels"]["syllabus-client"] == "true"


def test_the_front_doors_find_the_ray_cluster_and_its_actors_the_database():
    cluster = OBJECTS["raycluster.yaml:RayCluster:syllabus-ray"]
    values = value_sets()["front-doors"]
    # KubeRay names the head's Service NAME-head-svc.
    assert values["frontDoors"]["rayAddress"] == f"{cluster['metadata']['name']}-head-svc:6379"
    (group,) = cluster["spec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    secret = next(each["valueFrom"]["secretKeyRef"] for each in container["env"] if each["name"] == "PGPASSWORD")
    assert secret == {"name": values["frontDoors"]["databasePasswordSecretName"], "key": "password"}
    assert container["image"] == f"syllabus-service:{values['image']['tag']}"


def test_only_the_front_doors_and_ray_itself_reach_ray_and_they_show_its_token():
    cluster = OBJECTS["raycluster.yaml:RayCluster:syllabus-ray"]
    policy = OBJECTS["raycluster.yaml:NetworkPolicy:syllabus-ray"]["spec"]
    doors = render(value_sets()["front-doors"])
    assert policy["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["ingress"]
    itself, front_doors = ingress["from"]
    assert itself["podSelector"] == policy["podSelector"]
    labels = doors.workload["spec"]["template"]["metadata"]["labels"]
    assert front_doors["podSelector"]["matchLabels"].items() <= labels.items()
    dns, nodes, database = policy["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert nodes["to"] == ingress["from"]
    (port,) = database["ports"]
    assert f":{port['port']}/" in value_sets()["front-doors"]["frontDoors"]["databaseUrl"]

    def token(container: dict[str, Any]) -> list[dict[str, Any]]:
        return [each for each in container["env"] if each["name"].startswith("RAY_AUTH")]

    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    containers = [each for group in groups for each in group["template"]["spec"]["containers"]]
    containers += doors.pod["containers"]
    assert [each["name"] for each in containers] == ["ray-head", "ray-worker", "syllabus", "ray-node"]
    for each in containers:
        assert token(each) == [
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {
                "name": "RAY_AUTH_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "syllabus-ray-token", "key": "auth_token"}},
            },
        ]


def test_the_ray_jobs_program_is_there():
    entrypoint = OBJECTS["rayjob.yaml:RayJob:cartpole-ppo"]["spec"]["entrypoint"]
    python, flag, module = shlex.split(entrypoint)
    assert (python, flag) == ("python", "-m")
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    assert importlib.util.find_spec("examples") is not None
