# SPDX-License-Identifier: Apache-2.0
"""What Galley is made of."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
from collections.abc import AsyncIterator, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine

from common.database import Writer, WriterLock, check, create, is_sqlite, migrate, opening
from common.identity.enrolment import enrol
from common.identity.errors import EnrolmentError
from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.tls import grpc_server_credentials, ssl_context
from common.identity.tokens import TokenVerifier
from common.lifecycle import Life
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.host import StartError
from common.lifecycle.http import address_of, bind, serve_http
from common.mcp.inprocess import InProcessConfigSource
from common.mcp.publisher import Publisher
from common.mcp.server import ResourceSourceServicer
from common.proto.galley import v1_pb2_grpc
from common.proto.mcp import v1alpha1_pb2_grpc as mcp_grpc
from common.telemetry.tracing import recent_spans
from galley import metrics
from galley.analysis import analyze
from galley.api.backend import Backend, Parts
from galley.api.registration import RegistrationServicer, StatusServicer
from galley.api.rest import rest_app
from galley.api.traces import TracesServicer
from galley.api.webhook.routes import webhook_app
from galley.distribution.access import only_consumers, only_listed
from galley.distribution.callout import call_outs
from galley.distribution.distributor import Distributor
from galley.distribution.sinks import sink_rows
from galley.settings import GalleySettings
from galley.sources.admission import Admission
from galley.sources.directory import DirectorySource
from galley.sources.kubernetes import KubernetesSource
from galley.sources.kubernetes_api import connected
from galley.sources.source import Source
from galley.status.analysis import Analysis, breathe
from galley.status.reports import Reports
from galley.status.traces import Traces
from galley.store.store import MIGRATIONS, Store
from galley.store.workload_feed import WorkloadFeed
from galley.store.workloads import Workloads

log = structlog.get_logger("galley")

STREAM_GRACE = 0.2  # seconds that open calls get at the end; MCP streams never end by themselves


def build(settings: GalleySettings, *, identity: WorkloadIdentity | None = None) -> GalleyComponent:
    """Galley. Without an `identity` it joins the mesh by its settings; istiod hands one in, and its other parts the `config_source`."""
    return GalleyComponent(settings, identity)


class GalleyComponent:
    """REST first (it says why it cannot serve yet), then the store under its lock, then MCP and registration."""

    name = "galley"

    def __init__(self, settings: GalleySettings, identity: WorkloadIdentity | None) -> None:
        self._settings, self._identity = settings, identity
        self._publisher = Publisher(metrics.StreamMetrics())
        self.config_source = InProcessConfigSource(self._publisher)
        """For a part in this process: the first push comes as soon as the store is loaded."""

    def another_config_source(self) -> InProcessConfigSource:
        """One source serves one consumer's introspection; a second part in the process takes its own."""
        return InProcessConfigSource(self._publisher)

    async def run(self, life: Life) -> None:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            identity = await stack.enter_async_context(_joined(settings) if self._identity is None else nullcontext(self._identity))
            backend = Backend(stopping=life.stopping)
            rest = bind(settings.rest_address)
            app = rest_app(backend, TokenVerifier.from_jwks(lambda: identity.api_keys))
            tls = ssl_context(identity, server=True, require_client=False)
            await stack.enter_async_context(serve_http(app, rest, ssl_context=tls))
            life.listening("rest", address_of(rest))
            if settings.webhook_address:
                await self._serve_webhook(stack, life, identity, backend)

            called = call_outs(settings.mcp_sinks, settings.mcp_sink_metadata, identity, self._publisher)
            life.shows("sinks", lambda: sink_rows(self._publisher.sinks))
            engine = create(settings.database_url)
            if not await _locked(stack, engine, settings, backend, life):
                return  # asked to stop while standing by
            writer = await stack.enter_async_context(Writer.open(engine, name="galley"))
            with opening(engine):
                await writer.call(lambda: check(engine))
                await writer.call(lambda: migrate(engine, MIGRATIONS))
                store = await Store.open(writer)
                workloads = await Workloads.open(writer, start=store.start)
                reports = await Reports.open(writer, store.snapshot)
            admission = Admission(lambda: store.snapshot, lenient=settings.lenient)
            ours = importlib.metadata.version("fourmast-common")
            analyse = functools.partial(analyze, breathe=breathe, control_plane_version=ours)
            analysis = Analysis(store, workloads, analyse)
            traces = Traces()
            stack.callback(recent_spans.subscribe(traces.ended))
            sources = await _sources(stack, settings, store, admission)
            store.subscribe(reports.on_events)
            store.subscribe(analysis.on_events)
            workloads.subscribe(analysis.on_workloads)
            for source in sources:
                await source.load()  # before the first push, so that a new Galley never publishes less than its directory says
            Distributor(store, workloads, self._publisher)
            parts = Parts(
                store=store,
                admission=admission,
                workloads=workloads,
                workload_feed=WorkloadFeed(workloads, lambda: store.snapshot.revision, start=store.start),
                reports=reports,
                findings=analysis,
                traces=traces,
                sources=sources,
                sinks=lambda: self._publisher.sinks,
            )

            await self._serve(stack, life, identity, parts)
            backend.parts = parts
            stack.callback(_closed, backend, store)
            life.ready()
            await _until_stopping(
                life,
                workloads.run(),
                workloads.follow(),
                reports.run(),
                reports.follow(),
                analysis.run(),
                store.follow(),
                *(source.run() for source in sources),
                *(call_out.run(life.stopping) for call_out in called),
            )

    async def _serve_webhook(self, stack: contextlib.AsyncExitStack, life: Life, identity: WorkloadIdentity, backend: Backend) -> None:
        """Its certificate is the newest at each handshake, as everywhere; the metrics say that it was renewed and when it ends."""
        webhook = bind(self._settings.webhook_address)
        tls = ssl_context(identity, server=True, require_client=False)

        def renewed(material: KeyMaterial) -> None:
            metrics.VALIDATION_CERT_KEY_UPDATES.add(1)
            metrics.VALIDATION_CERT_EXPIRY.set(material.not_after.timestamp())

        renewed(identity.current)
        stack.callback(identity.subscribe(renewed))
        await stack.enter_async_context(serve_http(webhook_app(backend), webhook, ssl_context=tls))
        life.listening("webhook", address_of(webhook))

    async def _serve(self, stack: contextlib.AsyncExitStack, life: Life, identity: WorkloadIdentity, parts: Parts) -> None:
        """The two mutual TLS listeners."""
        settings, trust_domain = self._settings, identity.spiffe_id.trust_domain
        registration = grpc_server()
        workloads = RegistrationServicer(parts.store, parts.workloads, trust_domain=trust_domain)
        status = StatusServicer(parts.store, parts.reports, trust_domain=trust_domain)
        v1_pb2_grpc.add_RegistrationServicer_to_server(workloads, registration)  # type: ignore[no-untyped-call]
        v1_pb2_grpc.add_StatusServicer_to_server(status, registration)  # type: ignore[no-untyped-call]
        traces = TracesServicer(parts.traces, trust_domain=trust_domain)
        v1_pb2_grpc.add_TracesServicer_to_server(traces, registration)  # type: ignore[no-untyped-call]
        servers = [("registration", settings.registration_address, registration)]
        if settings.mcp_address:
            mcp = grpc_server()
            listed = settings.mcp_access_list
            sinks = ResourceSourceServicer(self._publisher, only_listed(listed) if listed else only_consumers(trust_domain))
            mcp_grpc.add_ResourceSourceServicer_to_server(sinks, mcp)  # type: ignore[no-untyped-call]
            servers.append(("mcp", settings.mcp_address, mcp))
        for listener, address, server in servers:
            bound = bind_grpc(server, address, grpc_server_credentials(identity))
            await server.start()
            stack.push_async_callback(server.stop, STREAM_GRACE)
            life.listening(listener, bound)


async def _sources(stack: contextlib.AsyncExitStack, settings: GalleySettings, store: Store, admission: Admission) -> list[Source]:
    """Where documents come from besides the API."""
    sources: list[Source] = []
    if settings.config_path:
        sources.append(DirectorySource(settings.config_path, store, admission))
    if settings.kubernetes:
        api = await stack.enter_async_context(connected(settings.kubernetes, context=settings.kubernetes_context))
        accepting = Admission(lambda: store.snapshot, lenient=True)  # the server has accepted fields that mean nothing here
        sources.append(KubernetesSource(store, accepting, api, resync_seconds=settings.resync_seconds))
    return sources


@contextlib.asynccontextmanager
async def _joined(settings: GalleySettings) -> AsyncIterator[WorkloadIdentity]:
    try:
        async with enrol(
            join_file=settings.join_file,
            citadel_address=settings.citadel_address,
            renewal_address=settings.citadel_renewal_address,
            state_dir=settings.state_dir,
            name="galley",
        ) as identity:
            yield identity
    except EnrolmentError as error:
        raise StartError(f"Galley cannot join the mesh: {error}") from error


async def _locked(stack: contextlib.AsyncExitStack, engine: Engine, settings: GalleySettings, backend: Backend, life: Life) -> bool:
    """Hold SQLite's writer lock for the rest of the stack. False when asked to stop while waiting for it; PostgreSQL needs none."""
    if not is_sqlite(engine) or engine.url.database is None:
        return True
    lock = WriterLock(Path(engine.url.database), owner="galley")
    if settings.when_locked == "fail":
        lock.acquire()
    else:
        backend.reason = "this Galley stands by, another one holds the database"
        life.not_ready(backend.reason)
        waiting = asyncio.create_task(lock.wait(), name="wait for the writer lock")
        stopping = asyncio.create_task(life.stopping.wait())
        await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
            return False
        await waiting
    stack.callback(lock.release)
    return True


def _closed(backend: Backend, store: Store) -> None:
    """First step of leaving: no more writes, and REST says that another will take over."""
    store.closed = True
    backend.parts, backend.reason = None, "this Galley is handing over"


async def _until_stopping(life: Life, *background: Coroutine[Any, Any, None]) -> None:
    """Keep the background going; a part of it that fails ends the component (its host starts it again)."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in background]
        await life.stopping.wait()
        for task in tasks:
            task.cancel()
