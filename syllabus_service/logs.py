"""How logs look: one line per event, JSON for machines or columns for people, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from syllabus_service.tracing import add_trace_ids

LogFormat = Literal["json", "console"]


def configure_logs(log_format: LogFormat, level: str, *, with_trace_ids: bool = False) -> None:
    """Set up structlog for this process. For programs: a library leaves it to the program that it is part of.

    Events carry ``curriculum`` and ``session_id`` where they are about one.

    Args:
        log_format: ``json`` or ``console``.
        level: name of the lowest level that is written, such as ``info``.
        with_trace_ids: whether an event within a span says which; needs OpenTelemetry.
    """
    exceptions: list[structlog.types.Processor]
    renderer: structlog.types.Processor
    if log_format == "json":
        exceptions, renderer = [structlog.processors.format_exc_info], structlog.processors.JSONRenderer()
    else:
        exceptions = []
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([add_trace_ids] if with_trace_ids else []),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
