# SPDX-License-Identifier: Apache-2.0
"""`istio.mixer.v1.Mixer`: Check and Report as Istio 1.4's own proxies call them, on port 9091.

Envoy as it is today cannot speak this; it is here for fidelity, for tests and for teaching, and `fourmast mixer check` uses it.
The caller's certificate, not the message, says for which side it may speak: a proxy of one namespace cannot report for another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc.status_pb2 import Status

from common.expression import Vocabulary
from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_identity
from common.proto.mixer import service_pb2, service_pb2_grpc
from mixer.attributes.bag import TypedBag
from mixer.attributes.compression import CompressionError, decompress, referenced_attributes
from mixer.attributes.dictionary import GLOBAL_WORDS
from mixer.attributes.workloads import Workload, WorkloadIndex
from mixer.dispatch.result import CheckResult, Code, HeaderOperation, QuotaRequest, QuotaResult
from mixer.errors import CheckError, Overloaded, ReportError

log = structlog.get_logger("api")

MOST_BAGS: Final = 1_000
"""In one report; Istio's proxies send 100. With delta encoding a few bytes repeat a whole bag."""
MOST_ATTRIBUTES: Final = 512
"""In one bag."""

Context = grpc.aio.ServicerContext[Any, Any]
Identify = Callable[[Context], SpiffeId | None]


class Mixer(Protocol):
    """What is needed of `mixer.dispatch.runtime.Runtime`."""

    async def check(
        self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False
    ) -> CheckResult: ...

    async def report(self, bags: Sequence[Mapping[str, Any]]) -> None: ...


class ClassicMixer(service_pb2_grpc.MixerServicer):
    """The servicer. `vocabulary` gives the types of the current snapshot."""

    def __init__(
        self, mixer: Mixer, workloads: WorkloadIndex, vocabulary: Callable[[], Vocabulary], *, identify: Identify = peer_identity
    ) -> None:
        self._mixer, self._workloads, self._vocabulary, self._identify = mixer, workloads, vocabulary, identify

    async def Check(self, request: service_pb2.CheckRequest, context: Context) -> service_pb2.CheckResponse:
        """A denial is an answer; UNAVAILABLE and INTERNAL leave the decision to the proxy's fail policy."""
        caller = await self._caller(context)
        await self._check_words(request.global_word_count, context)
        if any(asked.amount < 0 for asked in request.quotas.values()):  # adapters take it for a return, of what others share
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the amount of a quota cannot be negative")
        try:
            bag = self._bag(decompress(request.attributes), caller)
            quotas = {
                name: QuotaRequest(asked.amount, asked.best_effort, _dedup_id(caller, request.deduplication_id, name))
                for name, asked in request.quotas.items()
            }
            result = await self._mixer.check(bag, quotas=quotas or None, track=True)
        except CompressionError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Overloaded as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Server is currently overloaded. Please try again: {error}")
        except CheckError as error:
            await context.abort(grpc.StatusCode.INTERNAL, f"performing check operation failed: {error}")
        return _response(result, request.global_word_count)

    async def Report(self, request: service_pb2.ReportRequest, context: Context) -> service_pb2.ReportResponse:
        """Every element is worked on before failures are told."""
        caller = await self._caller(context)
        if len(request.attributes) > MOST_BAGS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"a report has at most {MOST_BAGS} elements")
        await self._check_words(request.global_word_count, context)
        try:
            await self._mixer.report([self._bag(bag, caller) for bag in _elements(request)])
        except CompressionError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Overloaded as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Server is currently overloaded. Please try again: {error}")
        except ReportError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return service_pb2.ReportResponse()

    async def _caller(self, context: Context) -> SpiffeId:
        identity = self._identify(context)
        if identity is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a client certificate with one SPIFFE id is needed")
        return identity

    @staticmethod
    async def _check_words(count: int, context: Context) -> None:
        if count > len(GLOBAL_WORDS):
            text = f"inconsistent global dictionary versions used: mixer knows {len(GLOBAL_WORDS)} words, the caller {count}"
            await context.abort(grpc.StatusCode.INTERNAL, text)

    def _bag(self, attributes: dict[str, Any], caller: SpiffeId) -> TypedBag:
        """Attributes as sent, the reporter's own side as its certificate has it, gaps filled from the workload index."""
        own = "source" if attributes.get("context.reporter.kind") == "outbound" else "destination"
        attributes[f"{own}.namespace"] = caller.namespace
        attributes[f"{own}.principal"] = caller.principal
        attributes[f"{own}.serviceAccount"] = caller.service_account
        for side in ("source", "destination"):
            uid = attributes.get(f"{side}.uid")
            address = attributes.get(f"{side}.ip")
            workload = self._workloads.of_uid(uid) if isinstance(uid, str) else None
            if workload is None and isinstance(address, bytes) and len(address) in (4, 16):
                workload = self._workloads.at(address)
            if side == own and workload is not None and not _is_of(workload, caller):
                workload = None
                attributes.pop(f"{side}.uid", None)
            if workload is not None:
                for name, value in (workload.source if side == "source" else workload.destination).items():
                    attributes.setdefault(name, value)
        return TypedBag(attributes, self._vocabulary())


def _is_of(workload: Workload, caller: SpiffeId) -> bool:
    return (workload.namespace, workload.service_account) == (caller.namespace, caller.service_account)


def _dedup_id(caller: SpiffeId, deduplication_id: str, quota: str) -> str:
    """One caller's ids must not answer for another's."""
    return f"{caller}/{deduplication_id}/{quota}" if deduplication_id else ""


def _elements(request: service_pb2.ReportRequest) -> Iterator[dict[str, Any]]:
    """The bags of a report. With delta encoding each is what the one before was, changed."""
    delta = request.repeated_attributes_semantics == service_pb2.ReportRequest.DELTA_ENCODING
    accumulated: dict[str, Any] = {}
    for element in request.attributes:
        bag = decompress(element, request.default_words)
        if delta:
            accumulated = {**accumulated, **bag}
            bag = dict(accumulated)
        if len(bag) > MOST_ATTRIBUTES:
            raise CompressionError(f"a bag has at most {MOST_ATTRIBUTES} attributes")
        yield bag


def _response(result: CheckResult, global_words: int) -> service_pb2.CheckResponse:
    response = service_pb2.CheckResponse()
    precondition = response.precondition
    precondition.status.CopyFrom(Status(code=int(result.status_code), message=result.message))
    precondition.valid_duration.CopyFrom(_duration(result.valid_duration))
    precondition.valid_use_count = result.valid_use_count
    precondition.referenced_attributes.CopyFrom(referenced_attributes(result.referenced, global_words))
    if result.header_operations or result.direct_response is not None:
        _route_directive(precondition.route_directive, result)
    if result.status_code == Code.OK:
        for name, quota in result.quotas.items():
            response.quotas[name].CopyFrom(_quota(quota, global_words))
    return response


def _route_directive(directive: service_pb2.RouteDirective, result: CheckResult) -> None:
    for operation in result.header_operations:
        operations = directive.response_header_operations if operation.response else directive.request_header_operations
        operations.append(_header(operation))
    if result.direct_response is not None:
        directive.direct_response_code = result.direct_response.status
        directive.direct_response_body = result.direct_response.body
        directive.response_header_operations.extend(map(_header, result.direct_response.headers))


def _header(operation: HeaderOperation) -> service_pb2.HeaderOperation:
    return service_pb2.HeaderOperation(name=operation.name, value=operation.value, operation=operation.operation.name)


def _quota(quota: QuotaResult, global_words: int) -> service_pb2.CheckResponse.QuotaResult:
    return service_pb2.CheckResponse.QuotaResult(
        valid_duration=_duration(quota.valid_duration),
        granted_amount=quota.granted,
        referenced_attributes=referenced_attributes(quota.referenced, global_words),
        status=Status(),
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
