"""The built image serves with the chart's arguments, read-only, as nobody, and answers the chart's probes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from syllabus_service.token_commands import token_commands
from tests.deploy import image
from tests.deploy.rendering import Release, merged, render, value_sets
from tests.security.certificates import Authority

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

_START_SECONDS = 60.0
_ENVIRONMENT = {
    "PATH": "/opt/syllabus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_EPISODE = """
from syllabus_client.stream import open_session
from syllabus_client import CurriculumClient
session = open_session(curriculum="{name}")
task = session.next_task()
session.report_episode(task.id, episode_return=1.0, length=1, progress=1.0, env_id=0)
session.close()
with CurriculumClient(curriculum="{name}") as client:
    print(client.summary().num_episodes)
"""


_SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=10).read().decode())
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    if reason := image.reason_to_skip():
        pytest.skip(reason)
    path = image.build()
    yield path
    image.remove()


def _files(directory: Path, content: dict[str, bytes]) -> Path:
    """A mounted Secret or ConfigMap: its files are root's and the pod's group's."""
    directory.mkdir()
    for name, text in content.items():
        (directory / name).write_bytes(text)
        os.chown(directory / name, 0, 65532)
        (directory / name).chmod(0o440)
    directory.chmod(0o755)
    return directory


class Pod:
    """A pod of the chart, in the image's root: its volumes are directories, and its probes are carried out."""

    def __init__(self, root: Path, release: Release, directory: Path, secrets: dict[str, dict[str, bytes]]) -> None:
        self._release = release
        mounts: dict[str, Path | None] = {}
        for mount in release.container["volumeMounts"]:
            (source,) = [each for each in release.pod["volumes"] if each["name"] == mount["name"]] or [{"claim": {}}]
            content: dict[str, bytes] | None = None
            if "secret" in source:
                content = secrets[source["secret"]["secretName"]]
            elif "configMap" in source:
                data = release.one("ConfigMap", source["configMap"]["name"])["data"]
                content = {name: text.encode() for name, text in data.items()}
            elif "claim" in source:  # it stays when the container is replaced
                volume = directory / "volume"
                volume.mkdir()
                os.chown(volume, 0, 65532)
                volume.chmod(0o2770)  # as fsGroup makes it
                mounts[mount["mountPath"]] = volume
                continue
            mounts[mount["mountPath"]] = None if content is None else _files(directory / mount["name"], content)
        environment = _ENVIRONMENT | {each["name"]: each["value"] for each in release.container.get("env", [])}
        self.container = image.Container(root, mounts, environment, directory / "log")
        for path in (directory, *directory.parents):
            path.chmod(path.stat().st_mode | 0o011)  # the way to the volumes is not mounted, but walked

    def start(self) -> None:
        """Start the container, and wait for its startup and readiness probes."""
        self.container.start("syllabus-service", *self._release.container["args"])
        deadline = time.monotonic() + _START_SECONDS
        while not (self.probe("startupProbe") and self.probe("readinessProbe")):
            if self.container.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the image does not serve: {self.container.log.read_text()}")
            time.sleep(0.2)

    def probe(self, name: str) -> bool:
        """What kubelet does."""
        probe = self._release.container[name]["grpc"]  # kubelet's own client; ours asks the same
        target, service = f"--target=127.0.0.1:{probe['port']}", f"--service={probe['service']}"
        return self.container.run("python3", "-m", "syllabus_service.probe", target, service).returncode == 0

    def stop(self) -> int:
        """Stop the container as kubelet does; its exit code."""
        seconds = self._release.pod["terminationGracePeriodSeconds"]
        lifecycle = self._release.container["lifecycle"]["preStop"]["exec"]["command"]
        assert self.container.run(*lifecycle).returncode == 0
        self.container.process.send_signal(signal.SIGTERM)
        return self.container.process.wait(seconds)


@pytest.fixture
def start(root: Path, tmp_path: Path) -> Iterator[Any]:
    pods: list[Pod] = []

    def start(values: dict[str, Any], secrets: dict[str, dict[str, bytes]] | None = None) -> Pod:
        pods.append(Pod(root, render(merged(values, drain__preStopSeconds=1)), tmp_path, secrets or {}))
        pods[-1].start()
        return pods[-1]

    yield start
    for pod in pods:
        pod.container.close()


def test_the_image_says_what_the_chart_relies_on(root):
    told = image.settings()
    for part in ("65532:65532", "syllabus-service", "/var/lib/syllabus", "SIGTERM", "PATH=/opt/syllabus/bin:"):
        assert part in told
    assert not list(root.glob("opt/syllabus/bin/pip*"))
    assert (root / "etc/pip.conf").read_text() == ""  # what the build was told of this machine, but for the mount point


def test_it_serves_read_only_as_nobody_and_what_it_keeps_outlives_the_container(start):
    pod = start(value_sets()["single"])
    container = pod.container
    status = container.status()
    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert (status["Groups"], status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == ("", "0" * 16, "0" * 16, "1")
    for place in ("/x", "/opt/syllabus/x", "/etc/syllabus/x"):
        refused = container.run("touch", place, user=0)
        assert "Read-only file system" in refused.stderr
    container.environment["SYLLABUS_TARGET"] = "127.0.0.1:50051"
    done = container.run("python3", "-c", _EPISODE.format(name="cartpole"))
    assert done.stdout == "1\n", done.stderr
    assert pod.probe("livenessProbe")
    assert pod.stop() == 0
    pod.start()
    assert container.run("python3", "-c", _EPISODE.format(name="cartpole")).stdout == "2\n"


def test_it_serves_with_tls_tokens_and_client_certificates_and_is_probed_without_any(start, tmp_path):
    directory = tmp_path / "authority"
    directory.mkdir()
    authority = Authority(directory, "authority")
    pair = authority.sign("server")  # also shown by the client
    tokens = directory / "tokens.yaml"
    command = ["new", "--id", "learner", "--scope", "learner", "--file", str(tokens)]
    token = CliRunner().invoke(token_commands, command, catch_exceptions=False).stdout.split()[-1]
    secrets = {
        "syllabus-tls": {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes()},
        "syllabus-client-ca": {"ca.crt": authority.certificate.read_bytes()},
        "syllabus-tokens": {"tokens.yaml": tokens.read_bytes()},
    }
    pod = start(value_sets()["secured"], secrets)
    assert pod.probe("livenessProbe")
    container = pod.container
    plain = ("python3", "-m", "syllabus_service.probe", "--target=127.0.0.1:50051", "--timeout=2")
    assert container.run(*plain).returncode == 1
    client = {
        "SYLLABUS_TARGET": "127.0.0.1:50051",
        "SYLLABUS_TLS_CA": "/etc/syllabus/client-ca/ca.crt",
        "SYLLABUS_TLS_CERT": "/etc/syllabus/tls/tls.crt",
        "SYLLABUS_TLS_KEY": "/etc/syllabus/tls/tls.key",
        "SYLLABUS_TOKEN": token,
    }
    done = container.run("python3", "-c", _EPISODE.format(name="maze"), variables=client)
    assert done.stdout == "1\n", done.stderr
    assert "syllabus_" in container.run("python3", "-c", _SCRAPE).stdout
    assert pod.probe("readinessProbe")  # without anything that the client needs
    assert pod.stop() == 0
