# The service as an image: `make image`, or any builder of Dockerfiles. See docs/operations.md.
#
# BASE is a Debian or Ubuntu root with Python 3.11 as python3 and its venv module. Pin it by digest in production.
# EXTRAS are those of pyproject.toml. Front doors before a Ray cluster need ray besides.
ARG BASE=python:3.11.13-slim-bookworm
ARG EXTRAS=postgresql,service,tracing

FROM ${BASE} AS build
ARG EXTRAS
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY syllabus_client syllabus_client
COPY syllabus_service syllabus_service
# The environment that goes into the image has no pip and no compiler.
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/syllabus \
 && /opt/build/bin/pip --python /opt/syllabus/bin/python install --quiet --no-cache-dir --no-compile ".[${EXTRAS}]" \
 && /opt/syllabus/bin/python -m compileall -q /opt/syllabus/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="syllabus-service" \
      org.opencontainers.image.description="A gRPC service that schedules curricula for reinforcement learning" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/syllabus /opt/syllabus
# The only place that is written to; mount a volume over it. The root may be read-only.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/syllabus
ENV PATH="/opt/syllabus/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /var/lib/syllabus
VOLUME /var/lib/syllabus
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python3", "-m", "syllabus_service.probe"]
ENTRYPOINT ["syllabus-service"]
# Safe by default: loopback only. Listening beyond it takes TLS or --insecure.
CMD ["serve", "--listen", "127.0.0.1:50051", "--data-dir", "/var/lib/syllabus"]
