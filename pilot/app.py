# SPDX-License-Identifier: Apache-2.0
"""What Pilot is made of."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import grpc.aio
import structlog

from common.identity.enrolment import enrol
from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_server_credentials
from common.identity.tokens import TokenVerifier
from common.lifecycle import Component, Life
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.http import address_of, bind, serve_http
from common.mcp.change import ConfigSource
from common.mcp.client import GrpcConfigSource
from common.mcp.lastgood import LastGood
from common.registration.reporter import StatusReporter
from common.registration.spans import SpanReporter
from pilot.api.ads import AggregatedDiscovery
from pilot.api.configuration import Configuration
from pilot.api.debug import debug_app
from pilot.api.discovery import Discovery
from pilot.api.distribution import Distribution
from pilot.api.reports import Reports
from pilot.model.push import COLLECTIONS
from pilot.networking import generator
from pilot.settings import PilotSettings
from pilot.xds.queue import Admission

log = structlog.get_logger("pilot")

LARGEST_REQUEST = 4 * 1024 * 1024  # bytes
LOOK = 0.5  # seconds between two looks at whether Galley answers
KEEPALIVE_TIMEOUT = 60_000  # ms; the answer to a ping stands in line behind megabytes of configuration when all proxies connect at once
DRAIN = 0.5  # seconds that streams get at a stop; Envoy keeps its configuration and finds the next Pilot


def build(settings: PilotSettings, *, config_source: ConfigSource | None = None, identity: WorkloadIdentity | None = None) -> Component:
    """Discovery for proxies. Without a `config_source` it dials Galley; without an `identity` it joins at Citadel."""
    return Pilot(settings, config_source, identity)


class Pilot:
    """Configuration from Galley, snapshots, the ADS listeners, the debug pages, and reports back to Galley."""

    name = "pilot"

    def __init__(self, settings: PilotSettings, config_source: ConfigSource | None, identity: WorkloadIdentity | None) -> None:
        self._settings, self._config_source, self._identity = settings, config_source, identity

    async def run(self, life: Life) -> None:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            life.not_ready("joining the mesh at Citadel")
            identity = self._identity if self._identity is not None else await stack.enter_async_context(_join(settings))
            source = self._config_source or GrpcConfigSource(lambda: settings.galley_address, identity)
            configuration = Configuration(COLLECTIONS, last_good=LastGood(settings.state_dir / "lastgood"), grace=settings.lease_grace)
            discovery = Discovery(
                generator,
                interval=settings.push_interval,
                quiet=settings.debounce_after,
                longest=settings.debounce_max,
                write_timeout=settings.write_timeout,
            )
            reporter = StatusReporter(identity, settings.galley_status_address)
            report = reporter.report if settings.galley_status_address else _nobody
            reports, distribution = Reports(report, discovery.version_of), Distribution(discovery, report)
            reports.changed = discovery.published = distribution.changed

            def changed(trigger: str, traceparent: str) -> None:
                if configuration.is_complete:
                    touched = configuration.take_touched()
                    discovery.changed(configuration.snapshot, trigger=trigger, traceparent=traceparent, touched=touched)

            configuration.changed = changed
            await asyncio.to_thread(configuration.restore)
            changed("config", "")

            server = self._server(discovery, reports)
            life.listening("xds", bind_grpc(server, settings.secure_grpc_address, grpc_server_credentials(identity)))
            if settings.grpc_address:
                life.listening("xds-plaintext", bind_grpc(server, settings.grpc_address, None))
            if settings.http_address:
                sock = bind(settings.http_address)
                life.listening("debug", address_of(sock))
                app = debug_app(discovery, TokenVerifier.from_jwks(lambda: identity.api_keys), lambda: life.reason, lambda: life.remark)
                await stack.enter_async_context(serve_http(app, sock))
            await server.start()
            stack.push_async_callback(server.stop, DRAIN)

            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(
                        source.run(
                            node_id=f"pilot~{socket.gethostname()}",
                            collections=COLLECTIONS,
                            on_change=configuration.on_change,
                            stopping=life.stopping,
                        ),
                        name="configuration from Galley",
                    ),
                    tasks.create_task(discovery.run(), name="discovery"),
                    tasks.create_task(configuration.run(), name="configuration"),
                    tasks.create_task(_tell_readiness(life, configuration, discovery, source), name="readiness"),
                ]
                if settings.galley_status_address:
                    background.append(tasks.create_task(distribution.run(), name="distribution"))
                    spans = SpanReporter("pilot", identity, settings.galley_status_address)
                    background.append(tasks.create_task(spans.run(), name="spans to Galley"))
                    background.append(tasks.create_task(reporter.run(life.stopping), name="reports to Galley"))
                await life.stopping.wait()
                for task in background:
                    task.cancel()

    def _server(self, discovery: Discovery, reports: Reports) -> grpc.aio.Server:
        settings = self._settings
        server = grpc_server(
            max_message=LARGEST_REQUEST,
            options=(
                ("grpc.max_concurrent_streams", 100_000),
                ("grpc.max_connection_age_ms", int(settings.keepalive_max_server_connection_age * 1000)),
                ("grpc.max_connection_age_grace_ms", 10_000),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT),
            ),
        )
        admission = Admission(rate=settings.max_requests_per_second, burst=settings.max_requests_per_second)
        server.add_generic_rpc_handlers((AggregatedDiscovery(discovery, reports, trust_domain=settings.trust_domain, admission=admission),))
        return server


def _join(settings: PilotSettings) -> contextlib.AbstractAsyncContextManager[WorkloadIdentity]:
    return enrol(
        join_file=settings.join_file,
        citadel_address=settings.citadel_address,
        renewal_address=settings.citadel_renewal_address,
        state_dir=settings.state_dir,
        name="pilot",
    )


async def _tell_readiness(life: Life, configuration: Configuration, discovery: Discovery, source: ConfigSource) -> None:
    """Ready when the first snapshot is published, be it the last good one; say so for as long as it is."""
    life.not_ready("waiting for configuration from Galley")
    await discovery.until_published()
    life.ready()
    while True:
        lost = source.lost if isinstance(source, GrpcConfigSource) else None
        if not configuration.is_current:
            life.note(
                f"serving the last good configuration from disk; Galley has not answered since the start{f' ({lost})' if lost else ''}"
            )
        else:
            life.note(f"serving the last configuration that Galley sent; Galley is away ({lost})" if lost else None)
        await asyncio.sleep(LOOK)


def _nobody(*_: object, **__: object) -> None:
    """Reports are turned off."""
