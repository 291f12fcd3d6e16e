# SPDX-License-Identifier: Apache-2.0
"""Mixer's real listeners with a runtime that a test scripts. The Check listener can be stopped and started again on its port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio

from common.checkprotocol.message import Answer, Question
from common.config.resource import Resource
from common.identity.material import WorkloadIdentity
from common.identity.spiffe import SpiffeId
from common.identity.tls import grpc_server_credentials, ssl_context
from mixer.api.als import AccessLogService
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.api.fast_check import FastCheck
from mixer.api.http1 import serve_fast_check
from mixer.attributes.bag import Referenced
from mixer.attributes.workloads import WorkloadIndex
from mixer.dispatch.result import CheckResult, QuotaRequest
from mixer.dispatch.runtime import Runtime
from tests.integration.mixer.data_plane import free_port

Bag = Mapping[str, Any]
Decide = Callable[[Bag, Mapping[str, QuotaRequest]], CheckResult]


def by(*names: str, **result: Any) -> CheckResult:
    """An answer that depends on these request headers."""
    read = (Referenced("request.headers", name, True) for name in names)
    return CheckResult(referenced=(*read, Referenced("context.reporter.kind", None, True)), **result)


class ScriptedMixer:
    """Remembers what it was asked and told."""

    def __init__(self, identity: WorkloadIdentity, workloads: Iterable[Resource[Any]] = ()) -> None:
        self.check_port = free_port()
        self.report_port = 0
        self._identity = identity
        self._peers = PeerAttributes(WorkloadIndex(workloads))
        self._listening: AsyncExitStack | None = None
        self.reset(epoch="")

    def reset(self, *, epoch: str) -> None:
        self.epoch = epoch
        self.headers: Sequence[str] | None = None
        self.asked: list[Bag] = []
        self.quotas: list[Mapping[str, QuotaRequest]] = []
        self.reporters: list[SpiffeId] = []
        self.reported: list[Bag] = []
        self.decide: Decide = lambda bag, quotas: by("user")
        self.runtime: Runtime | None = None
        """Mixer's own runtime instead of `decide`."""
        self.raw: bytes | None = None
        self.delay = 0.0

    async def check(self, bag: Bag, *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False) -> CheckResult:
        assert track, "without tracking no answer could be cached"
        self.asked.append(bag)
        self.quotas.append(quotas or {})
        await asyncio.sleep(self.delay)
        if self.runtime is not None:
            return await self.runtime.check(bag, quotas=quotas, track=track)
        return self.decide(bag, quotas or {})

    async def report(self, bags: Sequence[Bag]) -> None:
        self.reported += bags
        if self.runtime is not None:
            await self.runtime.report(bags)

    async def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.check_port))
        tls = ssl_context(self._identity, server=True)
        self._listening = AsyncExitStack()
        await self._listening.enter_async_context(serve_fast_check(self._answer, listener, tls=tls, grace=0.2))

    async def stop(self) -> None:
        if self._listening is not None:
            await self._listening.aclose()
            self._listening = None

    async def _answer(self, question: Question, reporter: SpiffeId) -> Answer:
        self.reporters.append(reporter)
        if self.raw is not None:
            return _Raw(self.raw)
        fast = FastCheck(self, self._peers, epoch=lambda: self.epoch, headers=lambda: self.headers)
        return await fast.answer(question, reporter)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedMixer]:
        """Both listeners; the access log service has no stop of its own."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((AccessLogService(self, self._peers).handler(),))
        self.report_port = server.add_secure_port("127.0.0.1:0", grpc_server_credentials(self._identity))
        await server.start()
        await self.start()
        try:
            yield self
        finally:
            await self.stop()
            await server.stop(0)


class _Raw(Answer):
    """Octets that no Mixer of ours would send."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def encode(self) -> bytes:
        return self._body
