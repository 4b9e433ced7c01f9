"""syllabus-service serve: its options, and what is made of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import structlog

from syllabus_service.addresses import AddressError
from syllabus_service.allocator import give_large_arrays_back
from syllabus_service.authorization import Authorizer
from syllabus_service.config import ConfigError
from syllabus_service.engine import LocalEngine
from syllabus_service.engine_interface import Engine
from syllabus_service.limits import Limits
from syllabus_service.logs import LogFormat, configure_logs
from syllabus_service.ray_engine import RayCluster, RayEngine
from syllabus_service.server import ServerSettings
from syllabus_service.serving import ServiceOptions, run_service
from syllabus_service.store import Durability, SqliteStore, Store, StoreError, open_store
from syllabus_service.tls import TlsFiles
from syllabus_service.tokens import TokenFile
from syllabus_service.tracing import TracingError, tracing

if TYPE_CHECKING:
    from syllabus_service.store.postgresql import PostgresqlStore

_log = structlog.get_logger(__name__)


@click.command("serve")
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
    help="curricula.yaml: curricula to create where they do not exist. Read again when it changes, and at SIGHUP.",
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
    "--store-wait",
    type=click.FloatRange(min=0.0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a start waits for a database that is away, alive and not ready.",
)
@click.option(
    "--health-listen",
    metavar="ADDRESS",
    help="HOST:PORT where grpc.health.v1 is answered, and nothing else, without TLS and without --insecure: for probes "
    "that speak no TLS, such as Kubernetes'. --listen answers it in any case.",
)
@click.option(
    "--metrics-listen",
    metavar="ADDRESS",
    help="HOST:PORT where Prometheus finds /metrics, by plain HTTP. Without it, nowhere.",
)
@click.option("--metrics-insecure", is_flag=True, help="Offer metrics beyond this machine, TLS or not.")
@click.option(
    "--trace",
    "trace_endpoint",
    envvar=["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    metavar="URL",
    help="Where spans of RPCs go: an OTLP collector, by gRPC, such as http://collector:4317; also read from "
    "OpenTelemetry's variables. Needs the extra 'tracing'. Without it, nowhere.",
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
def serve_command(
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
    store_wait: float,
    health_listen: str | None,
    metrics_listen: str | None,
    metrics_insecure: bool,
    trace_endpoint: str | None,
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
    --health-listen says nothing but whether the service lives and is ready, and asks for none of these.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if tls_client_ca is not None and tls_cert is None:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    if data_dir is not None and store_url is not None:
        raise click.UsageError("--data-dir and --store exclude each other")
    is_elsewhere = (store_url or "").startswith(("postgresql:", "postgres:"))
    if engine_name == "ray" and not is_elsewhere:
        raise click.UsageError("--engine ray needs --store postgresql://..., which actors on any node can reach")
    configure_logs(log_format, log_level, with_trace_ids=trace_endpoint is not None)
    give_large_arrays_back()
    limits = replace(Limits(), max_message_bytes=max_message_mib << 20)

    def open_the_store() -> Store | None:
        if data_dir is not None:
            return SqliteStore(data_dir, Durability(durability))
        if store_url is not None:
            return open_store(store_url, Durability(durability))
        _log.warning("nothing_is_kept", reason="no --data-dir and no --store: all ends with this process")
        return None

    def make_engine(store: Store | None) -> Engine:
        if engine_name == "local" or store is None:
            return LocalEngine(store, limits=limits, allowed_curricula=allow_curriculum)
        return RayEngine(
            cast("PostgresqlStore", store),  # as its URL says
            store_url or "",
            Durability(durability),
            cluster=RayCluster(ray_address, ray_namespace, ray_cpus),
            limits=limits,
            allowed_curricula=allow_curriculum,
        )

    with _one_line_errors(), contextlib.ExitStack() as stack:
        options = ServiceOptions(
            open_store=open_the_store,
            make_engine=make_engine,
            limits=limits,
            settings=ServerSettings(grace_seconds=grace),
            listen=listen,
            tls=TlsFiles(tls_cert, tls_key, tls_client_ca) if tls_cert is not None and tls_key is not None else None,
            authorizer=Authorizer(TokenFile(tokens) if tokens is not None else None, limits=limits),
            insecure=insecure,
            config=config,
            store_wait_seconds=store_wait if is_elsewhere else 0.0,
            health_listen=health_listen,
            metrics_listen=metrics_listen,
            metrics_insecure=metrics_insecure or insecure,
            interceptors=stack.enter_context(tracing(trace_endpoint)) if trace_endpoint is not None else (),
        )
        asyncio.run(run_service(options))


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What an operator can mend, as one line and exit code 1."""
    try:
        yield
    except (AddressError, ConfigError, StoreError, TracingError) as error:
        raise click.ClickException(str(error)) from error
