# SPDX-License-Identifier: Apache-2.0
"""stdio: log entries and metrics as lines on the console or in a file.

Lines are made in the event loop and written in a thread, one batch at a time, so a full pipe delays nobody but this handler.
Istio 1.4 accepted `outputLevel` and did not obey it; here lines below it are dropped.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from common.config.mixer_builtin import ADAPTERS
from common.config.mixer_builtin.adapters import StdioParams
from common.expression.values import Duration, Timestamp, text_of
from mixer.adapters.contract import Adapter, Batch, Environment, HandlerSpec, decode_params
from mixer.adapters.rotation import RotatingFile
from mixer.errors import HandlerError

_LEVELS = ("INFO", "WARNING", "ERROR")
Write = Callable[[bytes], None]


class Stdio:
    def __init__(self, params: StdioParams, write: Write, close: Callable[[], None], environment: Environment) -> None:
        self._params, self._write, self._close = params, write, close
        self._wall = environment.wall
        self._floor = _LEVELS.index(params.outputLevel)
        self._one_at_a_time = asyncio.Lock()

    async def report(self, batches: Sequence[Batch]) -> None:
        lines = b"".join(line for batch in batches for line in self._lines(batch))
        if lines:
            async with self._one_at_a_time:
                await asyncio.to_thread(self._write, lines)

    def _lines(self, batch: Batch) -> Iterator[bytes]:
        entries = self._log_entries(batch) if batch.instance.template == "logentry" else self._metrics(batch)
        for level, moment, fields in entries:
            if _LEVELS.index(level) >= self._floor:
                yield self._line({"level": level.lower(), "time": str(moment), "instance": batch.instance.name, **fields})

    def _log_entries(self, batch: Batch) -> Iterator[tuple[str, Timestamp, Mapping[str, Any]]]:
        keys = batch.instance.map_columns("variables").keys
        for variables, timestamp, severity, *_ in batch.rows:
            level = self._params.severityLevels.get(severity, "INFO")
            yield level, timestamp or self._now(), dict(zip(keys, map(_plain, variables), strict=True))

    def _metrics(self, batch: Batch) -> Iterator[tuple[str, Timestamp, Mapping[str, Any]]]:
        keys = batch.instance.map_columns("dimensions").keys
        for value, dimensions, *_ in batch.rows:
            yield self._params.metricLevel, self._now(), {"value": _plain(value), **dict(zip(keys, map(_plain, dimensions), strict=True))}

    def _line(self, fields: Mapping[str, Any]) -> bytes:
        if self._params.outputAsJson:
            return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        level, moment, instance, *_ = fields.values()
        rest = json.dumps({key: fields[key] for key in list(fields)[3:]}, ensure_ascii=False)
        return f"{moment}\t{level}\t{instance}\t{rest}\n".encode()

    def _now(self) -> Timestamp:
        return Timestamp.of_seconds(self._wall())

    async def close(self) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._close)


def _plain(value: Any) -> Any:
    """Numbers and booleans as JSON has them, maps as objects, everything else as text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Duration, Timestamp, bytes)):
        return text_of(value)
    return value


def build(spec: HandlerSpec, environment: Environment) -> Stdio:
    params = decode_params(spec, StdioParams)
    if params.logStream in ("STDOUT", "STDERR"):
        if params.outputPath:
            raise HandlerError(f"{params.logStream} takes no path; use logStream FILE or ROTATED_FILE", "params.outputPath")
        stream = sys.stdout.buffer if params.logStream == "STDOUT" else sys.stderr.buffer
        return Stdio(params, lambda lines: _write_through(stream, lines), lambda: None, environment)
    path = _allowed(params.outputPath, environment.output_directories)
    for field in ("maxMegabytesBeforeRotation", "maxDaysBeforeRotation", "maxRotatedFiles"):
        if getattr(params, field) < 0:
            raise HandlerError("must not be negative", f"params.{field}")
    rotated = params.logStream == "ROTATED_FILE"
    try:
        file = RotatingFile(
            path,
            max_bytes=params.maxMegabytesBeforeRotation * 1024 * 1024 if rotated else 0,
            max_age=params.maxDaysBeforeRotation * 86400.0 if rotated else 0.0,
            max_files=params.maxRotatedFiles,
            wall=environment.wall,
        )
    except OSError as error:
        raise HandlerError(f"{path} cannot be opened: {error.strerror}", "params.outputPath") from error
    return Stdio(params, file.write, file.close, environment)


def _write_through(stream: BinaryIO, lines: bytes) -> None:
    stream.write(lines)
    stream.flush()


def _allowed(text: str, directories: Sequence[Path]) -> Path:
    """The path, with links in its directory followed, if it lies under an allowed directory."""
    if not text:
        raise HandlerError("logStream FILE needs a path", "params.outputPath")
    path = Path(os.path.realpath(Path(text).parent)) / Path(text).name
    if not any(path.is_relative_to(os.path.realpath(directory)) for directory in directories):
        allowed = ", ".join(map(str, directories)) or "none is configured (setting output_directories)"
        raise HandlerError(f"{text} is not under an allowed directory: {allowed}", "params.outputPath")
    return path


STDIO = Adapter(ADAPTERS["stdio"], build)
