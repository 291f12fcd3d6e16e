# SPDX-License-Identifier: Apache-2.0
"""The fast Check: translates between the exchange with Envoy's Lua filter and Mixer's runtime. The connection is `http1`'s business."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import structlog

from common.checkprotocol.attributes import Direction, Reference, shape_of
from common.checkprotocol.message import ALL_HEADERS, Answer, AnsweredHeader, AnsweredQuota, Question, Status
from common.identity.spiffe import SpiffeId
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.api.attributes_of_questions import bag_of
from mixer.api.comparisons import Comparer
from mixer.dispatch.result import CheckResult, Code, HeaderOperation, Operation, QuotaRequest
from mixer.errors import MixerError, Overloaded

log = structlog.get_logger("api")


Selection = tuple[str, tuple[str, ...]]
"""Version and names of the request headers that a filter shall send."""


class Checker(Protocol):
    """What is needed of `mixer.dispatch.runtime.Runtime`."""

    async def check(
        self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False
    ) -> CheckResult: ...


class FastCheck:
    """Answers questions. `epoch` names the policy configuration now in force, `headers` the request headers that it reads (None: any)."""

    def __init__(
        self,
        checker: Checker,
        peers: PeerAttributes,
        *,
        epoch: Callable[[], str],
        headers: Callable[[], Iterable[str] | None],
    ) -> None:
        self._checker, self._peers, self._epoch, self._headers = checker, peers, epoch, headers
        self._comparer = Comparer()
        self._selected: tuple[str, Selection] = ("", ("", ()))

    async def answer(self, question: Question, reporter: SpiffeId) -> Answer:
        """Never raises for a failing adapter: that is an answer too (`failure`), and the route's fail policy decides."""
        if question.comparisons:
            compared = self._comparer.compare(question.comparisons, reporter)
            if compared is None:
                return Answer(failure=_status(Code.UNAVAILABLE, "too many regular expressions were new; try again later"))
            return Answer(comparisons=compared)
        epoch = self._epoch()
        selection = self._selection(epoch)
        if question.headers_version not in ("", selection[0]):
            return Answer(again="other request headers are needed", selection=selection)
        bag = bag_of(question, reporter, self._peers)
        quotas = {
            name: QuotaRequest(asked.amount, asked.best_effort, f"{reporter}/{question.dedup_id}/{name}" if question.dedup_id else "")
            for name, asked in question.quotas.items()
        }
        try:
            result = await self._checker.check(bag, quotas=quotas or None, track=True)
        except Overloaded as error:
            return Answer(failure=_status(Code.UNAVAILABLE, str(error)))
        except MixerError as error:
            return Answer(failure=_status(Code.INTERNAL, f"performing check operation failed: {error}"))
        direction: Direction = "outbound" if bag.get("context.reporter.kind") == "outbound" else "inbound"
        answer = _translate(result, direction)
        if question.epoch not in ("", epoch) or epoch != self._epoch():
            # The route and Mixer do not (or no longer) speak of the same configuration: good for this request, not for the next.
            answer.shape = None
        if question.headers_version == "":
            answer.selection = selection
        return answer

    def _selection(self, epoch: str) -> Selection:
        """Which headers the configuration of an epoch reads: looked up once for each."""
        if not epoch or epoch != self._selected[0]:
            names = self._headers()
            chosen = (ALL_HEADERS,) if names is None else tuple(sorted({name.lower() for name in names}))
            version = hashlib.blake2s(",".join(chosen).encode(), digest_size=6).hexdigest()
            self._selected = (epoch, (version, chosen))
        return self._selected[1]


def _translate(result: CheckResult, direction: Direction) -> Answer:
    answer = Answer(
        shape=shape_of(((r.name, r.map_key) for r in result.referenced), direction),
        valid_duration=result.valid_duration,
        valid_use_count=result.valid_use_count,
        headers=tuple(_header(operation) for operation in result.header_operations),
    )
    if result.direct_response is not None:
        direct = result.direct_response
        answer.direct_response = (direct.status, direct.body)
        answer.headers = tuple(_header(operation._replace(response=True)) for operation in direct.headers)
    elif result.status_code != Code.OK:
        answer.denial = _status(Code(result.status_code), result.message)
    for name, quota in result.quotas.items():
        shape: tuple[Reference, ...] | None = shape_of(((r.name, r.map_key) for r in quota.referenced), direction)
        answer.quotas[name] = AnsweredQuota(quota.granted, quota.valid_duration, shape)
    return answer


def _status(code: Code, message: str) -> Status:
    return Status(int(code), code.name, code.http_status, message)


_OPERATIONS = {Operation.REPLACE: "replace", Operation.REMOVE: "remove", Operation.APPEND: "append"}


def _header(operation: HeaderOperation) -> AnsweredHeader:
    return AnsweredHeader(
        "response" if operation.response else "request", _OPERATIONS[operation.operation], operation.name, operation.value
    )
