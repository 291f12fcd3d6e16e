# SPDX-License-Identifier: Apache-2.0
"""The processes that the xDS benchmark measures, each a real part on a core of its own: `python -m tests.benchmarks.xds_processes ROLE FOLDER`.

They talk to the benchmark in JSON lines: addresses and moments come out, orders go in. Roles: `galley`, `pilot`, and `raw`, a grpc.aio server
that sends given bytes to all streams and does nothing else, which is the limit for whatever is written on top of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from common.identity.material import KeyMaterial, WorkloadIdentity
from common.identity.tls import grpc_server_credentials
from common.lifecycle import Component, Life
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.mcp.change import Change, OnChange
from common.mcp.client import GrpcConfigSource
from pilot.api.memory import keep_heap
from tests.benchmarks.xds_clients.messages import METHOD

Order = Callable[[dict[str, Any]], None]


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def identity_in(folder: Path, name: str) -> WorkloadIdentity:
    chain, key, roots = ((folder / f"{name}.{kind}").read_bytes() for kind in ("pem", "key", "roots"))
    material = KeyMaterial.of(certificate_chain_pem=chain, private_key_pem=key, roots_pem=roots)
    return WorkloadIdentity(material, json.loads((folder / "jwks.json").read_text()))


def save_identity(folder: Path, name: str, material: KeyMaterial) -> None:
    (folder / f"{name}.pem").write_bytes(material.certificate_chain_pem)
    (folder / f"{name}.key").write_bytes(material.private_key_pem)
    (folder / f"{name}.roots").write_bytes(material.roots_pem)


def orders(loop: asyncio.AbstractEventLoop, take: Order, end: Callable[[], None]) -> None:
    """Read orders from standard input until it ends, which ends the process: it never outlives its benchmark."""

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(take, json.loads(line))
        loop.call_soon_threadsafe(end)

    threading.Thread(target=read, daemon=True).start()


async def serve(component: Component) -> None:
    life = Life(component.name)
    orders(asyncio.get_running_loop(), lambda order: say(usage=usage()), life.stopping.set)
    running = asyncio.create_task(component.run(life))
    ready = asyncio.create_task(life.until_ready())
    listening = asyncio.create_task(_until_listening(life))
    await asyncio.wait((running, listening), return_when=asyncio.FIRST_COMPLETED)
    say(addresses=dict(life.addresses))
    await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
    say(ready=life.is_ready)
    await running


async def _until_listening(life: Life) -> None:
    while not {"xds", "mcp"} & life.addresses.keys():
        await asyncio.sleep(0.01)


def usage() -> dict[str, float]:
    """CPU seconds used so far and resident megabytes now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"cpu": used.ru_utime + used.ru_stime, "megabytes": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}


class Watched:
    """A source of configuration that says when each change came."""

    def __init__(self, source: GrpcConfigSource) -> None:
        self._source = source

    async def run(self, *, node_id: str, collections: Sequence[str], on_change: OnChange, stopping: asyncio.Event) -> None:
        async def timed(change: Change) -> None:
            say(received=time.monotonic(), collection=change.collection, count=len(change.upserts))
            await on_change(change)

        await self._source.run(node_id=node_id, collections=collections, on_change=timed, stopping=stopping)


def galley(folder: Path) -> Component:
    from galley.app import build
    from galley.settings import GalleySettings

    loopback = dict.fromkeys(("rest_address", "mcp_address", "registration_address"), "127.0.0.1:0")
    return build(GalleySettings(state_dir=folder / "galley", **loopback), identity=identity_in(folder, "galley"))


def pilot(folder: Path) -> Component:
    from pilot.api.reports import Reports
    from pilot.app import build
    from pilot.settings import PilotSettings

    accepted = Reports.accepted

    def timed(self: Reports, connection: str, type_url: str, *rest: Any) -> None:
        if connection.startswith("envoy"):
            say(acked=time.monotonic(), type_url=type_url)
        accepted(self, connection, type_url, *rest)

    Reports.accepted = timed  # type: ignore[method-assign,assignment]
    own = json.loads((folder / "pilot.json").read_text())
    identity = identity_in(folder, "pilot")
    settings = PilotSettings(
        state_dir=folder / "pilot",
        secure_grpc_address="127.0.0.1:0",
        grpc_address="127.0.0.1:0",
        http_address="",
        galley_status_address="",
        **own["settings"],
    )
    return build(settings, config_source=Watched(GrpcConfigSource(lambda: own["galley"], identity)), identity=identity)


async def raw(folder: Path) -> None:
    """Send the order's file to every stream; the streams' answers are counted by the clients."""
    streams: set[asyncio.Queue[bytes]] = set()

    async def converse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()

        async def read() -> None:
            while isinstance(await context.read(), bytes):
                pass

        await context.read()
        streams.add(queue)
        reading = asyncio.create_task(read())
        try:
            while True:
                await context.write(await queue.get())
        finally:
            reading.cancel()
            streams.discard(queue)

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            known = handler_call_details.method in METHOD.values()
            return grpc.stream_stream_rpc_method_handler(converse) if known else None

    def order(given: dict[str, Any]) -> None:
        if "send" not in given:
            say(usage=usage(), streams=len(streams))
            return
        messages = [(folder / name).read_bytes() for name in given["send"]]
        say(sent=time.monotonic())
        for queue in streams:
            for message in messages:
                queue.put_nowait(message)

    done = asyncio.Event()
    server = grpc_server(options=(("grpc.max_concurrent_streams", 100_000),))
    server.add_generic_rpc_handlers((Handler(),))
    addresses = {
        "xds": bind_grpc(server, "127.0.0.1:0", grpc_server_credentials(identity_in(folder, "pilot"))),
        "xds-plaintext": bind_grpc(server, "127.0.0.1:0", None),
    }
    await server.start()
    gc.freeze()
    orders(asyncio.get_running_loop(), order, done.set)
    say(addresses=addresses)
    say(ready=True)
    await done.wait()
    await server.stop(0)


def play(role: str, folder: Path, core: int) -> None:
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30), logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if role == "raw":
        keep_heap()
        asyncio.run(raw(folder))
    else:
        asyncio.run(serve({"galley": galley, "pilot": pilot}[role](folder)))


if __name__ == "__main__":
    play(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
