"""Kubernetes' own schemas, the Prometheus operator's models, and the little that is known here of KubeRay's objects."""

from __future__ import annotations

from typing import Any

import yaml

from tests.deploy.rendering import CHART, Object

VERSIONS = ("1.27", "1.29", "1.31", "1.33", "1.35", "1.37")
"""Versions of Kubernetes that objects are checked against: from the chart's kubeVersion to the newest there is."""

_RAY_JOB_KEYS = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "entrypoint", "entrypointNumCpus", "jobId", "metadata",
    "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterPodTemplate", "suspend",
    "ttlSecondsAfterFinished",
}  # fmt: skip
_RAY_CLUSTER_KEYS = {
    "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion",
    "workerGroupSpecs",
}  # fmt: skip
_WORKER_GROUP_KEYS = {
    "groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "template",
}  # fmt: skip


def check(thing: Object, version: str) -> None:
    """Raise where an object is not what its kind asks for, unknown fields included."""
    match thing["apiVersion"]:
        case "monitoring.coreos.com/v1":
            _check_monitoring(thing)
        case "ray.io/v1":
            _check_ray(thing, version)
        case _:
            _check_kubernetes(thing, version)


def _check_kubernetes(thing: Object, version: str) -> None:
    from kubernetes_validate import validate

    validate(thing, version, strict=True)


def _check_monitoring(thing: Object) -> None:
    """The models are made from the operator's definitions and ignore unknown fields: what they keep has to be all."""
    from cloudcoil.models.prometheus_operator import v1

    model = getattr(v1, thing["kind"]).model_validate(thing)
    kept = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if kept != thing:
        raise ValueError(f"{thing['kind']}: has fields that the operator does not know: {thing}, kept: {kept}")


def _check_ray(thing: Object, version: str) -> None:
    """KubeRay publishes no schema that could be installed here: its keys are those of its API reference, ray.io/v1; the
    pods in it are checked as Kubernetes' pods."""
    if thing["kind"] == "RayJob":
        _check_keys("spec", thing["spec"], _RAY_JOB_KEYS, {"entrypoint", "rayClusterSpec"})
        cluster = thing["spec"]["rayClusterSpec"]
    elif thing["kind"] == "RayCluster":
        cluster = thing["spec"]
    else:
        raise ValueError(f"kind: expected RayJob or RayCluster, got {thing['kind']}")
    _check_keys("rayClusterSpec", cluster, _RAY_CLUSTER_KEYS, {"headGroupSpec", "rayVersion"})
    head, groups = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", [])
    _check_keys("headGroupSpec", head, {"rayStartParams", "serviceType", "template"}, {"rayStartParams", "template"})
    for group in groups:
        _check_keys("workerGroupSpecs", group, _WORKER_GROUP_KEYS, {"groupName", "rayStartParams", "template"})
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            raise ValueError(f"workerGroupSpecs: replicas are not between minReplicas and maxReplicas: {group}")
    for each in (head, *groups):
        if any(not isinstance(value, str) for value in each["rayStartParams"].values()):
            raise ValueError(f"rayStartParams: expected strings, got {each['rayStartParams']}")
        template = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": "pod"},
            "template": each["template"],
        }
        _check_kubernetes(template, version)


def _check_keys(where: str, thing: Object, known: set[str], required: set[str]) -> None:
    if unknown := thing.keys() - known:
        raise ValueError(f"{where}: unknown: {sorted(unknown)}")
    if missing := required - thing.keys():
        raise ValueError(f"{where}: missing: {sorted(missing)}")


def lowest_version() -> Any:
    """The kubeVersion that the chart asks for."""
    return yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
