"""syllabus-service: the command line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click
import structlog

from syllabus_service.addresses import AddressError
from syllabus_service.admin import create_command, delete_command, describe_command, list_command
from syllabus_service.authorization import Authorizer
from syllabus_service.config import ConfigError, ConfiguredCurriculum, load_config
from syllabus_service.engine import LocalEngine
from syllabus_service.engine_interface import Engine
from syllabus_service.errors import RequestError, Unavailable
from syllabus_service.limits import Limits
from syllabus_service.logs import LogFormat, configure_logs
from syllabus_service.offline import replay_command
from syllabus_service.ray_engine import RayCluster, RayEngine
from syllabus_service.server import Server, ServerSettings
from syllabus_service.store import Durability, SqliteStore, Store, StoreError, open_store
from syllabus_service.tls import TlsFiles
from syllabus_service.token_commands import token_commands
from syllabus_service.tokens import TokenFile

_log = structlog.get_logger(__name__)

_RAY_RETRY_SECONDS = 1.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("syllabus-service"), prog_name="syllabus-service")
def main() -> None:
    """Schedules curricula for reinforcement learning, over gRPC."""


for _command in (list_command, describe_command, create_command, delete_command, replay_command, token_commands):
    main.add_command(_command)


@main.command()
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:50051",),
    show_default=True,
    metavar="ADDRESS",
    help="HOST:PORT, [IPV6]:PORT or unix:PATH; may be given several times.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where curricula are kept; made where it does not exist. Without it, everything ends with the process.",
)
@click.option(
    "--store",
    "store_url",
    metavar="URL",
    help="Where curricula are kept, instead of --data-dir: postgresql://USER@HOST:PORT/DATABASE or "
    "sqlite:///DIRECTORY. A service that is started later on the same database takes its curricula over.",
)
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where curricula live. local: in this process. ray: each in an actor of a Ray cluster; this process is one "
    "of any number of front doors; needs the extra 'ray', --store postgresql://... and a Ray node on this machine.",
)
@click.option(
    "--ray-address",
    default=RayCluster.address,
    show_default=True,
    metavar="ADDRESS",
    help="The Ray cluster: HOST:PORT of its head, or 'auto' for the one that this machine is a node of.",
)
@click.option(
    "--ray-namespace",
    default=RayCluster.namespace,
    show_default=True,
    metavar="NAME",
    help="Ray namespace of the actors; the same for all front doors.",
)
@click.option(
    "--ray-cpus",
    type=click.FloatRange(min=0.0),
    default=RayCluster.cpus_per_curriculum,
    show_default=True,
    metavar="CPUS",
    help="CPUs that the actor of each curriculum takes from Ray's count.",
)
@click.option(
    "--durability",
    type=click.Choice([each.value for each in Durability]),
    default=Durability.FSYNC.value,
    show_default=True,
    help="What an acknowledgement waits for. fsync: the disk; nothing acknowledged is ever lost. os: the operating "
    "system; a power cut may lose the last seconds. none: nothing; a power cut may damage the data. A killed process "
    "loses nothing with any of them.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="curricula.yaml: curricula to create where they do not exist.",
)
@click.option(
    "--allow-curriculum",
    multiple=True,
    metavar="MODULE:CLASS",
    help="A curriculum class that CreateCurriculum may name; --config may name any. May be given several times.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without TLS.")
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="Server certificate and chain, PEM.")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its private key, PEM.")
@click.option(
    "--tls-client-ca",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Clients must show a certificate that one of these has signed, PEM.",
)
@click.option(
    "--tokens",
    type=click.Path(dir_okay=False, path_type=Path),
    help="tokens.yaml: who may do what, by bearer token; see 'syllabus-service token'. Read again when it changes.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0.0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a stop waits for RPCs under way.",
)
@click.option(
    "--max-message-mib",
    type=click.IntRange(1, 1024),
    default=Limits().max_message_bytes >> 20,
    show_default=True,
    help="Largest message in either direction, in MiB.",
)
@click.option("--log-format", type=click.Choice(["json", "console"]), default="console", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(
    listen: tuple[str, ...],
    data_dir: Path | None,
    store_url: str | None,
    engine_name: str,
    ray_address: str,
    ray_namespace: str,
    ray_cpus: float,
    durability: str,
    config: Path | None,
    allow_curriculum: tuple[str, ...],
    insecure: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tokens: Path | None,
    grace: float,
    max_message_mib: int,
    log_format: LogFormat,
    log_level: str,
) -> None:
    """Serve curricula until SIGTERM or SIGINT.

    A stop drains: health becomes NOT_SERVING, streams end with UNAVAILABLE once what they had sent is answered, what is
    queued is committed, a last snapshot is taken, and the exit code is 0. A second signal stops at once.

    Beyond loopback and Unix sockets it listens only with --tls-cert and --tls-key, or with --insecure. With --tokens,
    each RPC asks for a bearer token; with --tls-client-ca, each TLS connection for a client's certificate.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if tls_client_ca is not None and tls_cert is None:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    if data_dir is not None and store_url is not None:
        raise click.UsageError("--data-dir and --store exclude each other")
    if engine_name == "ray" and not (store_url or "").startswith(("postgresql:", "postgres:")):
        raise click.UsageError("--engine ray needs --store postgresql://..., which actors on any node can reach")
    configure_logs(log_format, log_level)
    tls = TlsFiles(tls_cert, tls_key, tls_client_ca) if tls_cert is not None and tls_key is not None else None
    with _one_line_errors():
        configured = load_config(config) if config is not None else []
        token_file = TokenFile(tokens) if tokens is not None else None
        with contextlib.ExitStack() as stack:
            store: Store | None = None
            if data_dir is not None:
                store = stack.enter_context(SqliteStore(data_dir, Durability(durability)))
            elif store_url is not None:
                store = stack.enter_context(open_store(store_url, Durability(durability)))
            else:
                _log.warning("nothing_is_kept", reason="no --data-dir and no --store: all ends with this process")
            limits = replace(Limits(), max_message_bytes=max_message_mib << 20)
            engine: LocalEngine | RayEngine
            if engine_name == "ray" and store is not None and store_url is not None:
                cluster = RayCluster(ray_address, ray_namespace, ray_cpus)
                engine = RayEngine(
                    store,
                    store_url,
                    Durability(durability),
                    cluster=cluster,
                    limits=limits,
                    allowed_curricula=allow_curriculum,
                )
            else:
                engine = LocalEngine(store, limits=limits, allowed_curricula=allow_curriculum)
            asyncio.run(
                _serve(
                    engine,
                    configured,
                    listen=listen,
                    tls=tls,
                    authorizer=Authorizer(token_file, limits=limits),
                    insecure=insecure,
                    settings=ServerSettings(grace_seconds=grace),
                )
            )


async def _serve(
    engine: Engine,
    configured: list[ConfiguredCurriculum],
    *,
    listen: tuple[str, ...],
    tls: TlsFiles | None,
    authorizer: Authorizer,
    insecure: bool,
    settings: ServerSettings,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        _log.info("signal", signal=signal.Signals(number).name)
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):  # the next one ends the process
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with engine:
        for each in configured:
            await _create(engine, each, stop)
        async with Server(engine, listen=listen, tls=tls, authorizer=authorizer, insecure=insecure, settings=settings):
            await stop.wait()


async def _create(engine: Engine, configured: ConfiguredCurriculum, stop: asyncio.Event) -> None:
    """Create a curriculum of the file; where Ray cannot be reached yet, as soon as it can."""
    while not stop.is_set():
        try:
            await engine.create(configured.name, configured.spec, allow_existing=True, trusted=True)
            return
        except RequestError as error:
            if not (isinstance(engine, RayEngine) and isinstance(error, Unavailable)):
                raise ConfigError(f"{configured.place}: curricula.{configured.name}: {error}") from error
            _log.warning("waiting_for_ray", curriculum=configured.name, reason=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _RAY_RETRY_SECONDS)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What an operator can mend, as one line and exit code 1."""
    try:
        yield
    except (AddressError, ConfigError, StoreError) as error:
        raise click.ClickException(str(error)) from error
