"""The chart: Kubernetes takes what it makes, the service's command line takes its arguments, and nothing is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from syllabus_service.cli import main
from syllabus_service.config import load_config
from tests.deploy.rendering import CHART, NAME, Release, merged, render, value_sets
from tests.deploy.schemas import VERSIONS, check, lowest_version

pytestmark = pytest.mark.chart

VALUES = value_sets()
_ENDPOINT_NAME = "syllabus.v1.CurriculumService"


@pytest.fixture(params=VALUES, scope="module")
def release(request: pytest.FixtureRequest) -> Release:
    return render(VALUES[request.param])


def _parse(arguments: list[str]) -> dict[str, Any]:
    """What the real command line makes of a container's arguments; it raises where it does not take them."""
    command, *rest = arguments
    return main.commands[command].make_context(command, rest).params


def test_helm_finds_nothing_to_complain_about_in_any_version():
    from helm_python.chart import lint

    for values in VALUES.values():
        for version in VERSIONS:
            report = lint(CHART, values, strict=True, kube_version=f"v{version}.0")
            assert report["errors"] == []
            assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_kubernetes_takes(release, version):
    for each in release.objects:
        check(each, version)


def test_the_versions_begin_where_the_chart_begins():
    assert lowest_version() == f">={VERSIONS[0]}.0-0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("ServiceMonitor", "spec", "endpoints", 0, "scrapeEvery"), "15s"),
        (("PrometheusRule", "spec", "groups", 0, "rules", 0, "expression"), "up"),
        (("Service", "spec", "ports", 0, "portName"), "grpc"),
        (("StatefulSet", "spec", "template", "spec", "containers", 0, "securityContext", "root"), False),
    ],
)
def test_a_field_that_is_misspelt_is_found(path, value):
    kind, *keys, last = path
    thing = render(VALUES["secured"]).of_kind(kind)[0]
    place: Any = thing
    for key in keys:
        place = place[key]
    place[last] = value
    with pytest.raises(Exception, match=last):
        check(thing, VERSIONS[0])


def test_the_three_value_sets_are_the_forms_that_the_readme_tells():
    assert {name: render(values).workload["kind"] for name, values in VALUES.items()} == {
        "single": "StatefulSet",
        "secured": "StatefulSet",
        "front-doors": "Deployment",
    }
    readme = (CHART / "README.md").read_text()
    assert all(f"ci/{name}-values.yaml" in readme for name in VALUES)


# The command line


def test_the_services_command_line_takes_the_containers_arguments(release):
    taken = _parse(release.container["args"])
    ports = {port["name"]: port["containerPort"] for port in release.container["ports"]}
    assert taken["listen"][0] == f"0.0.0.0:{ports['grpc']}"
    assert taken["insecure"] == (taken["tls_cert"] is None)
    assert (taken["data_dir"] is None) != (taken["store_url"] is None)


def test_every_option_of_the_chart_arrives():
    values = merged(
        VALUES["secured"],
        durability="os", port=4000, healthPort=4001, trace__endpoint="http://collector:4317",
        maxMessageMib=8, listenHost="[::]", log={"format": "console", "level": "debug"},
        allowCurricula=["mazes:Maze", "mazes:Big"], drain__graceSeconds=7,
    )  # fmt: skip
    taken = _parse(render(values).container["args"])
    assert (taken["listen"], taken["health_listen"]) == (("[::]:4000",), "[::]:4001")
    assert taken["trace_endpoint"] == "http://collector:4317"
    assert (taken["durability"], taken["max_message_mib"], taken["grace"]) == ("os", 8, 7.0)
    assert (taken["log_format"], taken["log_level"]) == ("console", "debug")
    assert taken["allow_curriculum"] == ("mazes:Maze", "mazes:Big")
    assert (taken["tls_cert"], taken["tls_client_ca"]) == (
        Path("/etc/syllabus/tls/tls.crt"),
        Path("/etc/syllabus/client-ca/ca.crt"),
    )


def test_no_argument_stands_twice(release):
    names = [each.partition("=")[0] for container in release.pod["containers"] for each in container.get("args", [])]
    assert len(names) == len(set(names))


def test_each_release_has_a_ray_namespace_of_its_own_unless_it_is_given_one():
    door = VALUES["front-doors"]
    taken = _parse(render(door).container["args"])
    assert taken["ray_namespace"] == f"training-{NAME}"
    assert taken["store_wait"] == 300.0
    values = merged(door, frontDoors__rayNamespace="shared", frontDoors__storeWaitSeconds=7)
    taken = _parse(render(values).container["args"])
    assert (taken["ray_namespace"], taken["store_wait"]) == ("shared", 7.0)


def test_names_are_looked_up_wherever_dns_is():
    rules = render(VALUES["front-doors"]).one("NetworkPolicy")["spec"]["egress"]
    (dns,) = (each for each in rules if {port["port"] for port in each.get("ports", [])} == {53})
    assert "to" not in dns  # a node-local cache is no pod


def test_files_that_arguments_name_are_in_volumes_that_are_mounted(release):
    mounts = {mount["mountPath"]: mount["name"] for mount in release.container["volumeMounts"]}
    claims = [each["metadata"]["name"] for each in release.workload["spec"].get("volumeClaimTemplates", [])]
    volumes = [volume["name"] for volume in release.pod["volumes"]] + claims
    assert sorted(mounts.values()) == sorted(volumes)
    paths = [path for argument in release.container["args"] for path in [argument.partition("=")[2]] if path[:1] == "/"]
    assert paths
    for path in paths:
        assert any(path == place or path.startswith(f"{place}/") for place in mounts), path


def test_the_services_loader_takes_the_curricula(release, tmp_path):
    for each in release.of_kind("ConfigMap"):
        if "curricula.yaml" in each["data"]:
            (tmp_path / "curricula.yaml").write_text(each["data"]["curricula.yaml"])
            assert load_config(tmp_path / "curricula.yaml")
            return
    assert "--config" not in str(release.container["args"])


def test_pods_stay_when_their_curricula_change_and_see_the_change_in_a_volume_that_kubelet_follows():
    releases = [render(merged(VALUES["single"], curricula__cartpole__seed=seed)) for seed in (1, 2)]
    first, second = (each.workload["spec"]["template"] for each in releases)
    assert first == second
    assert releases[0].one("ConfigMap", f"{NAME}-curricula") != releases[1].one("ConfigMap", f"{NAME}-curricula")
    (mount,) = (each for each in releases[0].container["volumeMounts"] if each["name"] == "curricula")
    assert "subPath" not in mount  # kubelet does not follow those
    assert _parse(releases[0].container["args"])["config"] == Path(mount["mountPath"]) / "curricula.yaml"


# Probes and stopping


def test_kubelet_asks_the_service_itself_with_and_without_tls(release):
    ports = {port["name"]: port["containerPort"] for port in release.container["ports"]}
    for probe, name in (("startupProbe", ""), ("livenessProbe", ""), ("readinessProbe", _ENDPOINT_NAME)):
        assert release.container[probe]["grpc"] == {"port": ports["health"], "service": name}
    assert _parse(release.container["args"])["health_listen"] == f"0.0.0.0:{ports['health']}"
    assert ports["health"] not in (ports["grpc"], ports.get("metrics"))
    reached = [
        port["port"] for rule in release.one("NetworkPolicy")["spec"]["ingress"] for port in rule.get("ports", [])
    ]
    assert set(reached) <= {"grpc", "metrics"}


def test_stopping_fits_into_the_time_that_kubernetes_gives(release):
    sleep, seconds = release.container["lifecycle"]["preStop"]["exec"]["command"]
    grace = _parse(release.container["args"])["grace"]
    assert sleep == "sleep"
    assert int(seconds) + grace < release.pod["terminationGracePeriodSeconds"]
    assert "lifecycle" not in render(merged(VALUES["single"], drain__preStopSeconds=0)).container


def test_a_front_door_has_a_ray_node_that_takes_no_work_and_ends_after_it():
    release = render(VALUES["front-doors"])
    (node,) = (each for each in release.pod["containers"] if each["name"] == "ray-node")
    (address,) = (each for each in node["command"] if each.startswith("--address="))
    assert f"--ray-{address[2:]}" in release.container["args"]
    assert "--num-cpus=0" in node["command"]
    assert _parse(release.container["args"])["ray_cpus"] > 0
    door, beside = (each["lifecycle"]["preStop"]["exec"]["command"][1] for each in (release.container, node))
    assert int(beside) == int(door) + _parse(release.container["args"])["grace"]
    assert int(beside) < release.pod["terminationGracePeriodSeconds"]
    shared = [
        {mount["mountPath"]: mount["name"] for mount in each["volumeMounts"]} for each in release.pod["containers"]
    ]
    assert shared[0].items() >= shared[1].items() == {"/tmp": "tmp", "/dev/shm": "shm"}.items()
    peers = release.one("NetworkPolicy")["spec"]["ingress"][-1]["from"]
    assert {"podSelector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}} in peers


def test_ray_speaks_tls_with_the_files_of_its_secret():
    release = render(merged(VALUES["front-doors"], frontDoors__rayTlsSecretName="ray-tls"))
    (volume,) = (each for each in release.pod["volumes"] if each["name"] == "ray-tls")
    assert volume["secret"]["secretName"] == "ray-tls"
    for each in release.pod["containers"]:
        (mount,) = (place for place in each["volumeMounts"] if place["name"] == "ray-tls")
        told = {variable["name"]: variable.get("value") for variable in each["env"]}
        assert told["RAY_USE_TLS"] == "1"
        assert {told[f"RAY_TLS_{what}"] for what in ("SERVER_CERT", "SERVER_KEY", "CA_CERT")} == {
            f"{mount['mountPath']}/{name}" for name in ("tls.crt", "tls.key", "ca.crt")
        }
    for version in VERSIONS:
        check(release.workload, version)


def test_a_start_may_take_as_long_as_was_said():
    for seconds in (5, 299, 301):
        probe = render(merged(VALUES["single"], startupSeconds=seconds)).container["startupProbe"]
        assert seconds <= probe["periodSeconds"] * probe["failureThreshold"] < seconds + 5


# Nothing is open


def test_pods_have_no_rights(release):
    pod = release.pod
    assert pod["automountServiceAccountToken"] is False
    assert release.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in release.pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
    assert not any(release.of_kind(kind) for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"))


def test_no_secret_is_in_the_chart_and_none_on_a_command_line(release):
    assert release.of_kind("Secret") == []
    for secret in (volume["secret"] for volume in release.pod["volumes"] if "secret" in volume):
        assert secret["defaultMode"] == 0o440
    assert "password" not in str(release.container["args"])


def test_the_databases_password_comes_from_its_secret():
    (password,) = (each for each in render(VALUES["front-doors"]).container["env"] if each["name"] == "PGPASSWORD")
    assert password["valueFrom"] == {"secretKeyRef": {"name": "syllabus-database", "key": "password"}}


def test_only_the_named_peers_reach_the_service_and_it_reaches_nobody():
    policy = render(VALUES["secured"]).one("NetworkPolicy")["spec"]
    clients, scrapers = policy["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"syllabus-client": "true"}}}]
    assert [port["port"] for port in clients["ports"]] == ["grpc"]
    assert scrapers["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert [port["port"] for port in scrapers["ports"]] == ["metrics"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []


def test_policy_services_and_budget_select_the_pods(release):
    labels = release.workload["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        release.workload["spec"]["selector"]["matchLabels"],
        release.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        release.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in release.of_kind("Service")),
    ]
    assert len(selectors) == 5
    for selector in selectors:
        assert selector.items() <= labels
        assert selector == {"app.kubernetes.io/name": "syllabus", "app.kubernetes.io/instance": "run"}


def test_the_headless_name_leads_to_every_ready_pod(release):
    headless = release.one("Service", f"{NAME}-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert not headless.get("publishNotReadyAddresses", False)
    if release.workload["kind"] == "StatefulSet":
        assert release.workload["spec"]["serviceName"] == f"{NAME}-headless"
    else:
        assert f"SYLLABUS_TARGET={NAME}-headless.training.svc:50051" in release.notes


# Monitoring


def test_prometheus_scrapes_the_port_that_the_service_listens_on():
    release = render(VALUES["secured"])
    (endpoint,) = release.one("ServiceMonitor")["spec"]["endpoints"]
    (port,) = (each for each in release.one("Service")["spec"]["ports"] if each["name"] == endpoint["port"])
    (listening,) = (each for each in release.container["ports"] if each["name"] == port["targetPort"])
    assert f"--metrics-listen=0.0.0.0:{listening['containerPort']}" in release.container["args"]
    selector = release.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    scraped = [
        each["metadata"]["name"]
        for each in release.of_kind("Service")
        if selector <= each["metadata"]["labels"].items() and "metrics" in str(each["spec"]["ports"])
    ]
    assert scraped == [NAME]  # each pod once


def test_dashboard_and_alerts_are_those_of_the_files():
    release = render(VALUES["secured"])
    dashboard = release.one("ConfigMap", f"{NAME}-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert yaml.safe_load(dashboard["data"]["syllabus.json"]) == yaml.safe_load(
        (CHART / "files" / "dashboard.json").read_text()
    )
    rules = release.one("PrometheusRule")
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())


# What is refused


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        ("single", {"insecure": False}, "tls.secretName: expected the name of a Secret"),
        ("secured", {"insecure": True}, "insecure: expected false where tls.secretName is set"),
        ("single", {"tls__clientCaSecretName": "ca"}, "tls.clientCaSecretName: expected tls.secretName"),
        (
            "single",
            {"terminationGracePeriodSeconds": 39},
            "terminationGracePeriodSeconds: expected at least 40, the sum of drain.preStopSeconds",
        ),
        ("single", {"drain__graceSeconds": 26}, "terminationGracePeriodSeconds: expected at least 46"),
        ("single", {"healthPort": 50051}, "healthPort: expected another port"),
        ("secured", {"healthPort": 9464}, "healthPort: expected another port"),
        ("front-doors", {"frontDoors__rayAddress": ""}, "frontDoors.rayAddress: expected the address of a Ray cluster"),
        ("front-doors", {"frontDoors__databaseUrl": ""}, "frontDoors.databaseUrl: expected postgresql://"),
        (
            "front-doors",
            {"frontDoors__databaseUrl": "postgresql://me:secret@db/x"},
            "frontDoors.databaseUrl: expected no password in it",
        ),
        ("single", {"metrics__alerts__enabled": True}, "metrics.alerts.enabled: expected metrics.enabled: true"),
        ("single", {"metrics__dashboard__enabled": True}, "metrics.dashboard.enabled: expected metrics.enabled"),
        ("single", {"metrics__serviceMonitor__enabled": True}, "metrics.serviceMonitor.enabled: expected metrics"),
    ],
)
def test_values_that_do_not_fit_together_are_refused_by_the_name_of_the_key(base, changes, message):
    from helm_python.errors import HelmRenderError

    render(VALUES[base])
    with pytest.raises(HelmRenderError, match=message):
        render(merged(VALUES[base], **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"portt": 1}, "'portt' not allowed"),
        ({"tls__secret": "x"}, "/tls.*'secret' not allowed"),
        ({"single__volume__class": "x"}, "/single/volume.*'class' not allowed"),
        ({"metrics__serviceMonitor__path": "/"}, "/metrics/serviceMonitor.*'path' not allowed"),
        ({"mode": "both"}, "/mode"),
        ({"port": "50051"}, "/port.*want integer"),
        ({"port": 80}, "/port"),
        ({"durability": "never"}, "/durability"),
        ({"frontDoors__replicas": 0}, "/frontDoors/replicas"),
        ({"frontDoors__cpusPerCurriculum": 0}, "/frontDoors/cpusPerCurriculum"),
        ({"frontDoors__rayAddress": "ray://head:10001"}, "/frontDoors/rayAddress"),
        ({"frontDoors__databaseUrl": "mysql://x"}, "/frontDoors/databaseUrl"),
        ({"frontDoors__rayNamespace": "a b"}, "/frontDoors/rayNamespace"),
        ({"frontDoors__storeWaitSeconds": -1}, "/frontDoors/storeWaitSeconds"),
        ({"trace__endpoint": "collector:4317"}, "/trace/endpoint"),
        ({"image__digest": "sha256:abc"}, "/image/digest"),
        ({"curricula__maze": {"algorithm": "x"}}, "/curricula/maze.*task_space"),
        ({"allowCurricula": ["mazes"]}, "/allowCurricula/0"),
        ({"drain__preStopSeconds": -1}, "/drain/preStopSeconds"),
        ({"drain__preStopSeconds": 0.5}, "/drain/preStopSeconds"),
        ({"networkPolicy__clients": []}, "/networkPolicy/clients"),
        ({"networkPolicy__clients": [{"pods": {}}]}, "/networkPolicy/clients/0"),
        ({"resources__limits__memory": "2 GB"}, "/resources/limits/memory"),
        ({"env": [{"name": "A", "values": "b"}]}, "/env/0"),
        ({"podDisruptionBudget__maxUnavailable": "1"}, "/podDisruptionBudget/maxUnavailable"),
    ],
)
def test_a_wrong_value_and_an_unknown_key_are_refused_by_name(changes, message):
    from helm_python.errors import HelmValuesError

    with pytest.raises(HelmValuesError, match=message):
        render(merged(VALUES["single"], **changes))


def test_every_key_of_the_schema_has_a_default_to_be_read_in_the_values():
    from helm_python.chart import Chart

    def keys(schema: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, each in schema.get("properties", {}).items():
            found |= {f"{prefix}{name}", *keys(each, f"{prefix}{name}.")}
        return found

    def missing(key: str, place: Any) -> bool:
        first, _, rest = key.partition(".")
        return first not in place or bool(rest and missing(rest, place[first]))

    with Chart.load(CHART) as chart:
        without = {key for key in keys(chart.schema) if missing(key, chart.values)}
    assert without == {"global"}  # Helm's own
