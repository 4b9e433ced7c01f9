"""Health probe: asks a service whether it is serving (grpc.health.v1). ``python -m syllabus_service.probe --help``."""

from __future__ import annotations

import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from syllabus_client.target import Target


def check(target: Target, *, service: str = "", timeout: float = 3.0) -> str:
    """Status of a service, by name: "SERVING", "NOT_SERVING" or "SERVICE_UNKNOWN".

    Args:
        target: where it is. No token is needed.
        service: "" asks whether the process lives (liveness); "syllabus.v1.CurriculumService" whether requests are
            answered (readiness).
        timeout: seconds for the whole check.

    Raises:
        grpc.RpcError: nothing answered in time, or the answer was an error.
        OSError: a TLS file cannot be read.
    """
    with target.channel() as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True
        )
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--target", envvar="SYLLABUS_TARGET", default="127.0.0.1:50051", show_default=True, help="Or SYLLABUS_TARGET."
)
@click.option("--service", default="", help="Name to ask about; empty: the process as a whole.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="Seconds.")
@click.option("--tls-ca", envvar="SYLLABUS_TLS_CA", help="Certificate authority of a service that uses TLS, PEM.")
@click.option("--tls-cert", envvar="SYLLABUS_TLS_CERT", help="Our own certificate, if the service asks for one, PEM.")
@click.option("--tls-key", envvar="SYLLABUS_TLS_KEY", help="Its private key, PEM.")
def main(
    target: str, service: str, timeout: float, tls_ca: str | None, tls_cert: str | None, tls_key: str | None
) -> None:
    """Exit with 0 where the service is serving, otherwise with 1. Options are also read from SYLLABUS_TLS_*."""
    files = {"SYLLABUS_TLS_CA": tls_ca, "SYLLABUS_TLS_CERT": tls_cert, "SYLLABUS_TLS_KEY": tls_key}
    try:
        where = Target.of_service(target, environ={name: path for name, path in files.items() if path})
        status = check(where, service=service, timeout=timeout)
    except grpc.RpcError as error:
        status = f"{error.code().name}: {error.details()}"
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{target}: {status}")
    sys.exit(0 if status == "SERVING" else 1)


if __name__ == "__main__":
    main()
