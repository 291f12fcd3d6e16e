# SPDX-License-Identifier: Apache-2.0
"""Structured logs with Istio's scopes: `structlog.get_logger("ads")` belongs to scope `ads`, whose level may change at run time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import structlog

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "none": 100}


class Scopes:
    """Levels of scopes. A scope that nobody named follows `default`."""

    def __init__(self) -> None:
        self._levels: dict[str, int] = {"default": LEVELS["info"]}
        self.seen: set[str] = {"default"}

    def configure(self, text: str) -> None:
        """Read `default:info,ads:debug`. Raises ValueError naming the bad element and what is allowed."""
        for element in filter(None, (part.strip() for part in text.split(","))):
            scope, _, level = element.rpartition(":")
            self.set(scope or "default", level)

    def set(self, scope: str, level: str) -> None:
        if level not in LEVELS:
            raise ValueError(f"log level {level!r} of scope {scope!r} is not one of {', '.join(sorted(LEVELS))}")
        if scope == "all":
            self._levels = {"default": LEVELS[level]}
            return
        self._levels[scope] = LEVELS[level]

    def threshold(self, scope: str) -> int:
        return self._levels.get(scope, self._levels["default"])

    def levels(self) -> Mapping[str, str]:
        """Every scope that has spoken or was configured, with its level's name."""
        names = {number: name for name, number in LEVELS.items() if name != "warn"}
        return {scope: names[self.threshold(scope)] for scope in sorted(self.seen | set(self._levels))}


scopes = Scopes()


class _ScopedLogger:
    """What structlog writes through: drops what the scope's level hides before any formatting is done."""

    def __init__(self, scope: str = "default") -> None:
        self.scope = scope
        scopes.seen.add(scope)

    def _write(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    debug = info = warning = warn = error = critical = exception = fatal = msg = log = _write


def _drop_by_scope(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    scope = getattr(logger, "scope", "default")
    if LEVELS.get({"exception": "error", "critical": "error"}.get(method, method), 20) < scopes.threshold(scope):
        raise structlog.DropEvent
    event["scope"] = scope
    return event


class _ToStructlog(logging.Handler):
    """Records of libraries (uvicorn, sqlalchemy, asyncio) appear as scope of their first name segment, warnings and worse only."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name.partition(".")[0])
        method = logger.error if record.levelno >= logging.ERROR else logger.warning
        method(record.getMessage(), exc_info=record.exc_info)


def set_up_logging(levels: str, *, as_json: bool) -> None:
    """Configure once per process. Lines go to standard error, so that standard output stays for results."""
    scopes.configure(levels)
    final: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            _drop_by_scope,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            final,
        ],
        logger_factory=_ScopedLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(logging.WARNING)
