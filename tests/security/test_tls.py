"""TLS both ways, against a real service process: whose certificate is good, and files that change while it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf.descriptor import MethodDescriptor

from syllabus_client import CurriculumClient
from syllabus_client.errors import AuthenticationError, ServiceUnavailableError
from syllabus_client.target import Target
from syllabus_service.cli import main
from syllabus_service.probe import main as probe
from tests.security.calls import METHODS, call
from tests.security.certificates import Authority, Pair
from tests.service_process import ServiceProcess


class Estate:
    """A directory with an authority, and what it and a foreign one have signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory, "authority")
        foreign = Authority(directory, "foreign-authority")
        self.server = self.authority.sign("server")
        self.next_server = self.authority.sign("next-server")
        self.expired_server = self.authority.sign("expired-server", expired=True)
        self.clients: dict[str, Pair | None] = {
            "good": self.authority.sign("client"),
            "none": None,
            "foreign": foreign.sign("foreign-client"),
            "expired": self.authority.sign("expired-client", expired=True),
        }

    def arguments(self, server: Pair | None = None) -> list[str]:
        """Arguments of a service that asks for client certificates."""
        pair = server or self.server
        return [
            *("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)),
            *("--tls-client-ca", str(self.authority.certificate)),
        ]

    def environ(self, client: str = "good") -> dict[str, str]:
        """Environment of a client."""
        pair = self.clients[client]
        own = {} if pair is None else {"SYLLABUS_TLS_CERT": str(pair.certificate), "SYLLABUS_TLS_KEY": str(pair.key)}
        return {"SYLLABUS_TLS_CA": str(self.authority.certificate), **own}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Estate:
    return Estate(tmp_path_factory.mktemp("estate"))


@pytest.fixture(scope="module")
def service(estate: Estate) -> Iterator[ServiceProcess]:
    """A service with TLS both ways."""
    running = ServiceProcess(estate.directory, *estate.arguments(), data_dir=None, listen="127.0.0.1:0")
    running.start()
    yield running
    running.close()


def status(target: str, environ: Mapping[str, str], method: MethodDescriptor) -> str:
    """The status of an empty request on a connection of its own."""
    with Target.of_service(target, environ=environ).channel() as channel:
        return call(channel, method, b"")[0]


LIST = next(method for method in METHODS if method.name == "ListCurricula")


@pytest.mark.parametrize("client", ["none", "foreign", "expired"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_client_without_a_good_certificate_gets_no_connection_for_any_rpc(
    service: ServiceProcess, estate: Estate, method: MethodDescriptor, client: str
) -> None:
    assert status(service.target, estate.environ(client), method) == "UNAVAILABLE"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_client_with_a_good_certificate_is_answered(
    service: ServiceProcess, estate: Estate, method: MethodDescriptor
) -> None:
    expected = "OK" if method.name == "ListCurricula" else "INVALID_ARGUMENT"
    assert status(service.target, estate.environ(), method) == expected


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_rpc_is_sent_to_a_server_whose_certificate_has_expired(
    expired_service: ServiceProcess, estate: Estate, method: MethodDescriptor
) -> None:
    assert status(expired_service.target, estate.environ(), method) == "UNAVAILABLE"


@pytest.fixture(scope="module")
def expired_service(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("expired")
    arguments = estate.arguments(estate.expired_server)
    running = ServiceProcess(directory, *arguments, data_dir=None, listen="127.0.0.1:0")
    running.start()
    yield running
    running.close()


def test_health_asks_for_a_certificate_too_and_the_probe_can_show_one(service: ServiceProcess, estate: Estate) -> None:
    for client, exit_code in (("good", 0), ("none", 1)):
        result = CliRunner().invoke(
            probe, ["--target", service.target, "--timeout", "1"], env=dict(_clean(estate.environ(client)))
        )
        assert result.exit_code == exit_code, result.output
    only_key = {**estate.environ("none"), "SYLLABUS_TLS_KEY": str(estate.server.key)}
    result = CliRunner().invoke(probe, ["--target", service.target], env=dict(_clean(only_key)))
    assert "both or neither" in result.output


def test_an_operator_s_commands_show_the_certificate_and_name_a_file_that_is_not_there(
    service: ServiceProcess, estate: Estate
) -> None:
    runner = CliRunner()
    arguments = ["ls", "--target", service.target]
    assert runner.invoke(main, arguments, env=_clean(estate.environ())).exit_code == 0
    refused = runner.invoke(main, arguments, env=_clean(estate.environ("none")))
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    missing = runner.invoke(main, arguments, env=_clean({"SYLLABUS_TLS_CA": "/nowhere.pem"}))
    assert (missing.exit_code, "/nowhere.pem" in missing.output) == (1, True)


def _clean(environ: Mapping[str, str]) -> dict[str, str | None]:
    names = ("TARGET", "TOKEN", "TLS_CA", "TLS_CERT", "TLS_KEY")
    return {**{f"SYLLABUS_{name}": None for name in names}, **environ}


def _served_by(target: str) -> bytes:
    """The certificate that a server shows, as DER."""
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def _der(pair: Pair) -> bytes:
    import ssl

    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def test_a_new_certificate_is_shown_without_a_restart_and_half_of_one_is_not(
    estate: Estate, tmp_path: Path, start_service: Callable[..., ServiceProcess]
) -> None:
    live = Pair(tmp_path / "live.crt", tmp_path / "live.key")
    live.replace_by(estate.server)
    arguments = ["--tls-cert", str(live.certificate), "--tls-key", str(live.key)]
    service = start_service(*arguments, data_dir=None, listen="127.0.0.1:0")
    environ = estate.environ("none")
    with Target.of_service(service.target, environ=environ).channel() as old:
        assert call(old, LIST, b"")[0] == "OK"
        assert _served_by(service.target) == _der(estate.server)
        live.replace_certificate_by(estate.next_server)  # its key is still the other one's
        for _ in range(3):
            assert _served_by(service.target) == _der(estate.server)
        assert status(service.target, environ, LIST) == "OK"
        assert len(service.events("tls_files_not_taken")) == 1
        live.replace_key_by(estate.next_server)
        assert _served_by(service.target) == _der(estate.next_server)
        assert status(service.target, environ, LIST) == "OK"
        assert len(service.events("tls_files_read_again")) == 1
        live.certificate.unlink()
        assert status(service.target, environ, LIST) == "OK"
        live.replace_by(estate.expired_server)
        assert status(service.target, environ, LIST) == "UNAVAILABLE"
        assert call(old, LIST, b"")[0] == "OK"  # a connection goes on with what it began with


def test_the_authority_of_clients_can_be_replaced_without_a_restart(
    estate: Estate, tmp_path: Path, start_service: Callable[..., ServiceProcess]
) -> None:
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(estate.authority.certificate.read_bytes())
    arguments = ["--tls-cert", str(estate.server.certificate), "--tls-key", str(estate.server.key)]
    service = start_service(*arguments, "--tls-client-ca", str(trusted), data_dir=None, listen="127.0.0.1:0")
    found = lambda: [status(service.target, estate.environ(name), LIST) for name in ("good", "foreign")]  # noqa: E731
    assert found() == ["OK", "UNAVAILABLE"]
    trusted.write_bytes((estate.directory / "foreign-authority.pem").read_bytes())
    assert found() == ["UNAVAILABLE", "OK"]


def test_a_python_client_finds_its_token_and_certificates_in_the_environment(
    estate: Estate, tmp_path: Path, start_service: Callable[..., ServiceProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tmp_path / "tokens.yaml"

    def new_token(name: str, *arguments: str) -> str:
        command = ["token", "new", "--id", name, *arguments, "--file", str(tokens)]
        return CliRunner().invoke(main, command).output.strip()

    worker = new_token("worker", "--scope", "worker", "--curriculum", "maze*")
    learner = new_token("learner", "--scope", "learner")
    config = tmp_path / "curricula.yaml"
    config.write_text("curricula: {maze: {algorithm: domain_randomization, task_space: 5}}")
    service = start_service(
        *estate.arguments(), "--tokens", str(tokens), "--config", str(config), data_dir=None, listen="127.0.0.1:0"
    )
    for name, value in {**estate.environ(), "SYLLABUS_TARGET": service.target, "SYLLABUS_CURRICULUM": "maze"}.items():
        monkeypatch.setenv(name, value)

    monkeypatch.setenv("SYLLABUS_TOKEN", worker)
    _run_episodes(3)
    with CurriculumClient() as client, pytest.raises(AuthenticationError, match="learner"):
        client.distribution()

    monkeypatch.setenv("SYLLABUS_TOKEN", learner)
    with CurriculumClient() as client:
        assert client.statistics().total.num_episodes == 3
    listed = CliRunner().invoke(main, ["ls"])
    assert listed.output.startswith("maze\t")
    refused = CliRunner().invoke(main, ["delete", "maze"])
    assert "PERMISSION_DENIED" in refused.output

    monkeypatch.setenv("SYLLABUS_TOKEN", "syl_wrong-wrong-wrong")
    with pytest.raises(AuthenticationError, match="not known"):
        _run_episodes(1)
    monkeypatch.setenv("SYLLABUS_TLS_CERT", str(estate.clients["expired"].certificate))
    monkeypatch.setenv("SYLLABUS_TLS_KEY", str(estate.clients["expired"].key))
    with CurriculumClient(timeout=1.0) as client, pytest.raises(ServiceUnavailableError):
        client.statistics()


def _run_episodes(count: int) -> None:
    from syllabus_client import GymnasiumSyncWrapper
    from tests.wrappers.environments import LedgerEnv

    env = GymnasiumSyncWrapper(LedgerEnv())
    try:
        for _ in range(count):
            env.reset()
            done = False
            while not done:
                _, _, terminated, truncated, _ = env.step(env.action_space.sample())
                done = terminated or truncated
    finally:
        env.close()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SYLLABUS_TLS_CERT": "a"}, "both or neither"),
        ({"SYLLABUS_TLS_KEY": "a"}, "both or neither"),
        ({"SYLLABUS_TLS_CERT": "a", "SYLLABUS_TLS_KEY": "b"}, "SYLLABUS_TLS_CA"),
    ],
)
def test_certificates_that_cannot_be_used_are_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Target.resolve("a:1", curriculum="maze", environ=environ)


def test_a_key_with_a_password_is_refused_rather_than_asked_for(estate: Estate, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(estate.server.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    arguments = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", str(estate.server.certificate), "--tls-key"]
    result = CliRunner().invoke(main, [*arguments, str(locked)])
    assert result.exit_code == 1
    assert "encrypted" in result.output.splitlines()[-1]


def test_a_client_authority_without_a_server_certificate_is_a_wrong_usage(estate: Estate) -> None:
    result = CliRunner().invoke(main, ["serve", "--tls-client-ca", str(estate.authority.certificate)])
    assert (result.exit_code, "--tls-client-ca" in result.output) == (2, True)
