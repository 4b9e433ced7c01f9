"""The image, built without a registry, and its root entered as a container's is: read-only, as nobody, alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.rendering import ROOT

CACHE = ROOT / ".image-base"
"""Ignored by git: the base root, made once, and buildah's storage."""
_BASE_ROOT = CACHE / "bookworm"
_STORAGE = ["--storage-driver", "vfs", "--root", str(CACHE / "storage"), "--runroot", str(CACHE / "run")]
_BASE, _IMAGE = "localhost/python311", "localhost/syllabus-service"
_USER = 65532
_BUILD_SECONDS = 600.0
_PIP_SETTINGS = ("cert", "extra-index-url", "index-url", "proxy", "timeout", "trusted-host")


def build() -> Path:
    """Build the image on Debian's packages by ``make image``; the path of its root, mounted and writable."""
    if not _BASE_ROOT.exists():
        _run(str(ROOT / "deploy" / "base-root"), str(_BASE_ROOT))
    if _BASE not in buildah("images", "--format", "{{.Name}}").split():
        container = buildah("from", "scratch")
        buildah("copy", "--quiet", container, str(_BASE_ROOT), "/")
        buildah("commit", "--quiet", "--format", "docker", "--rm", container, _BASE)
    # What this machine needs to reach its package index is its own affair, and does not become the image's.
    (CACHE / "pip.conf").write_text(_pip_settings())
    flags = [*_STORAGE, "--isolation", "chroot", "--volume", f"{CACHE}/pip.conf:/etc/pip.conf:ro"]
    flags += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    _run("make", "image", "BUILDER=buildah", f"BASE={_BASE}", f"IMAGE={_IMAGE}", f"IMAGE_FLAGS={shlex.join(flags)}")
    return Path(buildah("mount", buildah("from", _IMAGE)))


def settings() -> str:
    """What a runtime is told of the image: its configuration, JSON."""
    return buildah("inspect", "--type", "image", "--format", "{{.Docker.Config}}", _IMAGE)


def remove() -> None:
    """Remove the image and its containers; the base image stays for the next time."""
    buildah("rm", "--all")
    buildah("rmi", "--force", _IMAGE)


def buildah(*arguments: str) -> str:
    """What buildah answers."""
    return _run("buildah", *_STORAGE, *arguments).strip()


def _pip_settings() -> str:
    lines = ["[global]"]
    for line in _run(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        if key.rpartition(".")[2] in _PIP_SETTINGS and "file:" not in value:
            lines.append(f"{key.rpartition('.')[2]} = {value.strip(chr(39))}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _run(*arguments: str) -> str:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(arguments)}: {done.stderr[-4000:]}")
    return done.stdout


@dataclass
class Container:
    """One process in the image's root, as kubelet would start it from the chart.

    Namespaces of its own for mounts and for the network (loopback alone); the root read-only; user and group 65532,
    no capabilities, no new privileges; writable are only the places that were mounted.

    Args:
        root: of the image.
        mounts: directories to be seen in the container, by their place there. Those of None are empty and writable.
        environment: of the image.
    """

    root: Path
    mounts: dict[str, Path | None]
    environment: dict[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, *command: str) -> None:
        """Start the process."""
        root = str(self.root)
        steps = ["ip link set lo up", "mount --make-rprivate /", f"mount --bind {root} {root}"]
        steps += [f"mount --rbind /dev {root}/dev", f"mount -t proc proc {root}/proc"]
        for place, source in self.mounts.items():
            (self.root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)  # as a runtime does
            if source is None:
                steps.append(f"mount -t tmpfs -o mode=0700,uid={_USER},gid={_USER} tmpfs {root}{place}")
            else:
                steps.append(f"mount --bind {source} {root}{place}")
        steps.append(f"mount -o remount,bind,ro {root}")
        drop = "setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+setuid,+setgid,+sys_chroot"
        enter = f"chroot --userspec={_USER}:{_USER} --groups= {root}"
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        steps.append(f"exec {drop} {enter} env -i {shlex.join([*variables, *command])}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--net", "sh", "-ec", "\n".join(steps)], stdout=log, stderr=log
            )

    def run(
        self, *command: str, user: int = _USER, timeout: float = 60.0, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run another process beside it, as kubelet's exec does; ``variables`` are its own, beside the image's."""
        enter = ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "--root", "--wd"]
        enter += [f"--setuid={user}", f"--setgid={user}"]
        settings = [f"{name}={value}" for name, value in {**self.environment, **(variables or {})}.items()]
        return subprocess.run(
            [*enter, "env", "-i", *settings, *command], capture_output=True, text=True, timeout=timeout, check=False
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started."""
        if self._process is None:
            raise RuntimeError("the container was not started")
        return self._process

    def status(self) -> dict[str, str]:
        """/proc/PID/status of the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def reason_to_skip() -> str | None:
    """Why no image can be built here, or None."""
    if os.geteuid() != 0:
        return "building a root and entering it takes root"
    for tool in ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "ip"):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, check=False).returncode:
            return f"needs {tool}; make test-image installs what it can"
    return None
