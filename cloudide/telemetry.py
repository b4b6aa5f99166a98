"""Logs: structured, one line an event, without anything secret."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog

HIDDEN_LIMIT = 1000  # values
SHORTEST_HIDDEN = 6  # characters; shorter ones would take ordinary words away
_hidden: dict[str, None] = {}  # the last ones last


def hide(values: Iterable[str]) -> None:
    """Keep values out of the log from now on; the last thousand of them."""
    for value in values:
        if len(value) >= SHORTEST_HIDDEN:
            _hidden.pop(value, None)
            _hidden[value] = None
    while len(_hidden) > HIDDEN_LIMIT:
        del _hidden[next(iter(_hidden))]


class _WithoutSecrets:
    """A renderer that leaves hidden values out."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event: Any) -> str:
        return _without_secrets(str(self._renderer(logger, method, event)))


def _without_secrets(line: str) -> str:
    for value in _hidden:
        if value in line:
            line = line.replace(value, "[secret]")
        if (quoted := json.dumps(value)[1:-1]) != value and quoted in line:
            line = line.replace(quoted, "[secret]")
    return line


def configure_logging(format: str) -> None:
    """`console` for people, `json` for machines; both on standard error."""
    renderer = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info
            if format == "json"
            else structlog.processors.UnicodeDecoder(),
            _WithoutSecrets(renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
