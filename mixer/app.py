# SPDX-License-Identifier: Apache-2.0
"""What Mixer is made of."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from common.identity.enrolment import enrol
from common.identity.material import WorkloadIdentity
from common.identity.tls import grpc_server_credentials, ssl_context
from common.lifecycle import Component, Life
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.http import address_of, bind, serve_http
from common.mcp.change import ConfigSource
from common.mcp.client import GrpcConfigSource
from common.mcp.lastgood import LastGood
from common.proto.mixer import service_pb2_grpc
from common.registration.reporter import StatusReporter
from common.registration.spans import SpanReporter
from mixer.adapters.contract import Environment
from mixer.adapters.exposition import MetricsPage
from mixer.api.als import AccessLogService
from mixer.api.attributes_of_peers import PeerAttributes
from mixer.api.classic import ClassicMixer
from mixer.api.fast_check import FastCheck
from mixer.api.http1 import serve_fast_check
from mixer.api.mesh_metrics import mesh_metrics_app
from mixer.attributes.workloads import WorkloadIndex
from mixer.dispatch.runtime import Runtime
from mixer.dispatch.shedding import SheddingPolicy
from mixer.metrics import process_metrics
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.intake import ALL_COLLECTIONS, Intake
from mixer.rules.snapshot import Snapshot
from mixer.settings import MixerSettings

DRAIN = 0.5  # seconds that calls in flight get at a stop
SWEEP = 30.0  # seconds between looks for expired series


def build(settings: MixerSettings, *, config_source: ConfigSource | None = None, identity: WorkloadIdentity | None = None) -> Component:
    """Policy and telemetry. Without a `config_source` it dials Galley; without an `identity` it joins at Citadel."""
    return Mixer(settings, config_source, identity)


class Mixer:
    """Configuration from Galley, the compiled snapshot, the listeners for checks, reports and scrapers, and reports back to Galley."""

    name = "mixer"

    def __init__(self, settings: MixerSettings, config_source: ConfigSource | None, identity: WorkloadIdentity | None) -> None:
        self._settings, self._config_source, self._identity = settings, config_source, identity

    async def run(self, life: Life) -> None:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            life.not_ready("joining the mesh at Citadel")
            identity = self._identity if self._identity is not None else await stack.enter_async_context(_join(settings))
            source = self._config_source or GrpcConfigSource(lambda: settings.galley_address, identity)
            reporter = StatusReporter(identity, settings.galley_status_address)

            environment = _environment(settings)
            runtime = Runtime(process_metrics(), shedding=_shedding(settings))
            stack.push_async_callback(lambda: runtime.replace(Snapshot(id=runtime.snapshot.id + 1)))  # closes every handler
            workloads = WorkloadIndex(linger=settings.workload_linger)
            intake = Intake(
                SnapshotBuilder(environment, config_namespace=settings.config_default_namespace),
                workloads,
                runtime.replace,
                last_good=LastGood(settings.state_dir / "lastgood"),
                report=reporter.report if settings.galley_status_address else None,
                settle=settings.config_settle,
            )
            await intake.restore()
            peers = PeerAttributes(workloads)

            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(intake.run(), name="configuration"),
                    tasks.create_task(
                        source.run(
                            node_id=f"mixer~{socket.gethostname()}",
                            collections=ALL_COLLECTIONS,
                            on_change=intake.on_change,
                            stopping=life.stopping,
                        ),
                        name="configuration from Galley",
                    ),
                ]
                background.append(tasks.create_task(_keep_swept(environment.metrics_page), name="expiry of mesh metrics"))
                if settings.galley_status_address:
                    background.append(tasks.create_task(reporter.run(life.stopping), name="reports to Galley"))
                    spans = SpanReporter("mixer", identity, settings.galley_status_address)
                    background.append(tasks.create_task(spans.run(), name="spans to Galley"))
                try:
                    await self._serve(life, stack, identity, runtime, intake, peers, workloads, environment)
                finally:
                    for task in background:
                        task.cancel()

    async def _serve(
        self,
        life: Life,
        stack: contextlib.AsyncExitStack,
        identity: WorkloadIdentity,
        runtime: Runtime,
        intake: Intake,
        peers: PeerAttributes,
        workloads: WorkloadIndex,
        environment: Environment,
    ) -> None:
        """Open the listeners once there is a snapshot: a proxy that cannot reach Mixer follows its fail policy; one that is answered
        without rules would be let in."""
        settings = self._settings
        life.not_ready("waiting for configuration from Galley")
        if not await _either(intake.synced, life.stopping):
            return
        server = grpc_server(max_message=settings.max_message_size)
        classic = ClassicMixer(runtime, workloads, lambda: runtime.snapshot.vocabulary)
        service_pb2_grpc.add_MixerServicer_to_server(classic, server)  # type: ignore[no-untyped-call]
        server.add_generic_rpc_handlers((AccessLogService(runtime, peers).handler(),))
        life.listening("grpc", bind_grpc(server, settings.grpc_address, grpc_server_credentials(identity)))
        await server.start()
        stack.push_async_callback(server.stop, DRAIN)

        check = FastCheck(runtime, peers, epoch=lambda: runtime.snapshot.epoch, headers=lambda: runtime.snapshot.policy_headers)
        listener = serve_fast_check(check.answer, bind(settings.check_address), tls=ssl_context(identity, server=True), grace=DRAIN)
        life.listening("check", await stack.enter_async_context(listener))

        if settings.metrics_address:
            sock = bind(settings.metrics_address)
            life.listening("mesh-metrics", address_of(sock))
            await stack.enter_async_context(serve_http(mesh_metrics_app(environment.metrics_page), sock))
        life.ready()
        await life.stopping.wait()


def _join(settings: MixerSettings) -> contextlib.AbstractAsyncContextManager[WorkloadIdentity]:
    return enrol(
        join_file=settings.join_file,
        citadel_address=settings.citadel_address,
        renewal_address=settings.citadel_renewal_address,
        state_dir=settings.state_dir,
        name="mixer",
    )


def _environment(settings: MixerSettings) -> Environment:
    return Environment(
        clock=time.monotonic,
        wall=time.time,
        output_directories=settings.output_directories,
        call_timeout=settings.adapter_timeout,
        call_concurrency=settings.adapter_concurrency,
    )


def _shedding(settings: MixerSettings) -> SheddingPolicy:
    return SheddingPolicy(
        mode=settings.loadshedding_mode,
        max_requests_per_second=settings.max_requests_per_second,
        burst=settings.burst_size,
        average_latency=settings.average_latency_threshold,
        latency_enforcement_rate=settings.latency_enforcement_threshold,
    )


async def _keep_swept(page: MetricsPage) -> None:
    """Series expire also where nobody scrapes."""
    while True:
        await asyncio.sleep(SWEEP)
        page.sweep()


async def _either(wanted: asyncio.Event, stopping: asyncio.Event) -> bool:
    """Wait for one of two; whether it was the wanted one."""
    waiting = [asyncio.create_task(wanted.wait()), asyncio.create_task(stopping.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return wanted.is_set()
