"""What server and worker say, as lines to read or as JSON: `structlog` renders all of `logging`, with what is bound to
the context (`request_id`, `job_id`) beside it."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

LogFormat = Literal["console", "json"]


def set_up(level: str, form: LogFormat) -> None:
    """Write what is logged to standard error: our own messages from `level` on, libraries' from warnings on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso" if form == "json" else "%H:%M:%S", utc=form == "json"),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        last += [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            # The default prints every variable of every frame: passwords too, and for minutes where there are many.
            exception_formatter=structlog.dev.plain_traceback,
        )
        last.append(renderer)
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("unweave").setLevel(level.upper())
    # On a terminal a line for each click would hide what matters.
    quiet = form == "console" and level != "debug"
    logging.getLogger("unweave.requests").setLevel(logging.WARNING if quiet else logging.NOTSET)
