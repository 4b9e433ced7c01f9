"""Health probe: asks a service whether it is serving (grpc.health.v1). ``python -m syllabus_service.probe --help``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def check(target: str, *, service: str = "", timeout: float = 3.0, tls_ca: bytes | None = None) -> str:
    """Status of a service, by name: "SERVING", "NOT_SERVING" or "SERVICE_UNKNOWN".

    Args:
        target: address such as ``"127.0.0.1:50051"`` or ``"unix:/run/syllabus.sock"``.
        service: "" asks whether the process lives (liveness); "syllabus.v1.CurriculumService" whether requests are
            answered (readiness).
        timeout: seconds for the whole check.
        tls_ca: PEM of the certificate authority, where the service uses TLS.

    Raises:
        grpc.RpcError: nothing answered in time, or the answer was an error.
    """
    if tls_ca is None:
        channel = grpc.insecure_channel(target)
    else:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(tls_ca))
    with channel:
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
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate authority of a service that uses TLS, PEM.",
)
def main(target: str, service: str, timeout: float, tls_ca: Path | None) -> None:
    """Exit with 0 where the service is serving, otherwise with 1."""
    try:
        status = check(target, service=service, timeout=timeout, tls_ca=tls_ca.read_bytes() if tls_ca else None)
    except grpc.RpcError as error:
        status = f"{error.code().name}: {error.details()}"
    click.echo(f"{target}: {status}")
    sys.exit(0 if status == "SERVING" else 1)


if __name__ == "__main__":
    main()
