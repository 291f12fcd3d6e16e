# SPDX-License-Identifier: Apache-2.0
"""What an adapter is, and what Mixer lends and asks of it.

An adapter is code; a handler is an adapter with parameters, built once and kept for as long as nothing that concerns it changes.
A handler answers at once when it can (denier, memquota, prometheus work in memory) or with an awaitable when it must wait;
only the latter pass through time limit and bulkhead, because only they can be late.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec

from common.config.kinds.message import Message
from common.config.mixer_builtin import AdapterInfo
from common.config.normalise import normal_value
from common.config.schema import schema_of
from mixer.adapters.exposition import MetricsPage
from mixer.dispatch.result import Code, DirectResponse, QuotaRequest
from mixer.errors import HandlerError
from mixer.templates.shape import InstanceShape


class Verdict(NamedTuple):
    """One handler's answer to a check. With OK and both limits zero it has no opinion on how long it holds."""

    status_code: int = Code.OK
    message: str = ""
    valid_duration: float = 0.0
    """Seconds."""
    valid_use_count: int = 0
    direct_response: DirectResponse | None = None


class Allocation(NamedTuple):
    """One handler's answer to a quota request: tokens granted, and the seconds that they last."""

    granted: int
    valid_duration: float


class Batch(NamedTuple):
    """All rows of one instance in a report."""

    instance: InstanceShape
    rows: Sequence[tuple[Any, ...]]


class Handler(Protocol):
    """The least a handler can do. `close` is called once, when no call is in flight any more."""

    async def close(self) -> None: ...


@runtime_checkable
class CheckHandler(Handler, Protocol):
    """Answers checks of templates with the variety CHECK. It may raise: that is a failure, not a denial."""

    def check(self, instance: InstanceShape, row: tuple[Any, ...]) -> Verdict | Awaitable[Verdict]: ...


@runtime_checkable
class QuotaHandler(Handler, Protocol):
    """Grants quota. Never more than asked for, and with all or nothing unless `best_effort`."""

    def allocate(self, instance: InstanceShape, row: tuple[Any, ...], request: QuotaRequest) -> Allocation | Awaitable[Allocation]: ...


@runtime_checkable
class ReportHandler(Handler, Protocol):
    """Takes reports, a whole batch in one call."""

    def report(self, batches: Sequence[Batch]) -> Awaitable[None] | None: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What a handler may touch of the world. `clock` is monotonic seconds; `wall` is seconds since 1970."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    metrics_page: MetricsPage = field(default_factory=MetricsPage)
    output_directories: tuple[Path, ...] = ()
    """Where file outputs may go; nowhere by default."""
    call_timeout: float = 1.0
    """Seconds that one call of a handler may take."""
    call_concurrency: int = 64
    """Calls of one handler that may wait at once."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """What a handler is built from: its full name `denyall.handler.default`, its parameters, and the instances that rules will hand it."""

    name: str
    namespace: str
    params: Mapping[str, Any]
    instances: tuple[InstanceShape, ...]

    @property
    def short_name(self) -> str:
        """`name.namespace`, as denial messages have it."""
        return f"{self.name.partition('.')[0]}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that Mixer can build handlers of. `build` raises HandlerError for parameters that make no sense."""

    info: AdapterInfo
    build: Callable[[HandlerSpec, Environment], Handler]


P = TypeVar("P", bound=Message)


def decode_params(spec: HandlerSpec, params: type[P]) -> P:
    """The parameters as their typed message. Raises HandlerError naming the wrong field."""
    normal = normal_value(dict(spec.params), schema_of(params))
    unknown = sorted(key for key in normal if key not in params.__struct_fields__)
    if unknown:
        raise HandlerError(f"no such parameter; there are {', '.join(params.__struct_fields__) or 'none'}", f"params.{unknown[0]}")
    try:
        return msgspec.convert(normal, params)
    except msgspec.ValidationError as error:
        raise HandlerError(str(error), "params") from error
