# SPDX-License-Identifier: Apache-2.0
"""The namespaces of a one-machine mesh, with real packets: what is caught, what may pass, and that nothing remains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from common.mesh import names
from deploy.local.forward import connect, forwarding
from deploy.local.namespaces import NetworkNamespace
from deploy.local.network import HUB_ADDRESS, Hub, workload_address
from deploy.local.processes import Place, Process, installation

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

APPLICATION, PROXY = 30_000, names.PROXY_UID
OPEN_PORT, CLOSED_PORT = 15012, 8001


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub([OPEN_PORT])
    yield made
    made.close()


@contextlib.asynccontextmanager
async def listening(namespace: NetworkNamespace, port: int, word: bytes, host: str = "0.0.0.0") -> AsyncIterator[None]:
    """A server that says its word and where the connection was meant to go."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        try:
            original = socket.inet_ntoa(sock.getsockopt(socket.SOL_IP, 80, 16)[4:8])
        except OSError:
            original = "-"
        writer.write(word + b" " + original.encode() + b" " + writer.get_extra_info("peername")[0].encode())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    sock = namespace.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    server = await asyncio.start_server(answer, sock=sock)
    try:
        yield
    finally:
        server.close()


CALL = """
import socket, sys
sock = socket.socket()
sock.settimeout(3)
sock.bind(("", int(sys.argv[3])))
try:
    sock.connect((sys.argv[1], int(sys.argv[2])))
    print(sock.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


async def call(namespace: NetworkNamespace, uid: int, host: str, port: int, *, source: int = 0) -> str:
    """What the server says to a connection, made from the port `source` if that is given; or how it failed."""
    command = Place(network=namespace.path, mounts=True, keep=installation(), uid=uid, gid=uid).command(
        [sys.executable, "-I", "-S", "-c", CALL, host, str(port), str(source)]
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().strip()


async def test_an_applications_connections_are_caught_and_its_proxys_are_not(hub: Hub) -> None:
    namespace = hub.attach(1, intercepted=True)
    server = hub.attach(2, intercepted=False)
    there = workload_address(2)
    async with listening(namespace, names.SIDECAR_OUTBOUND, b"outbound"), listening(server, 9080, b"server"):
        assert await call(namespace, APPLICATION, there, 9080) == f"outbound {there} {workload_address(1)}"
        assert await call(namespace, PROXY, there, 9080) == f"server - {workload_address(1)}"
        assert (await call(namespace, 0, there, 9080)).startswith("outbound"), "root is an application too"
        assert (await call(namespace, APPLICATION, "240.240.7.9", 80)).startswith("outbound 240.240.7.9")


async def test_a_connection_is_caught_although_its_proxy_tried_from_the_same_port_in_vain(hub: Hub) -> None:
    """The kernel remembers an unanswered connection of the proxy, and with it that it was not to be caught."""
    namespace = hub.attach(1, intercepted=True)
    async with listening(namespace, names.SIDECAR_OUTBOUND, b"outbound"):
        assert await call(namespace, PROXY, "240.240.7.9", 80, source=40_000) == "TimeoutError"
        assert (await call(namespace, APPLICATION, "240.240.7.9", 80, source=40_000)).startswith("outbound 240.240.7.9")


async def test_what_comes_from_outside_is_caught_but_for_the_sidecars_own_ports(hub: Hub) -> None:
    namespace = hub.attach(1, intercepted=True)
    client = hub.attach(2, intercepted=False)
    here = workload_address(1)
    async with (
        listening(namespace, names.SIDECAR_INBOUND, b"inbound"),
        listening(namespace, 9080, b"application"),
        listening(namespace, names.SIDECAR_STATUS, b"status"),
    ):
        assert await call(client, APPLICATION, here, 9080) == f"inbound {here} {workload_address(2)}"
        assert (await call(client, APPLICATION, here, names.SIDECAR_STATUS)).startswith("status")
        assert (await call(namespace, APPLICATION, here, 9080)).startswith("inbound"), "a call to oneself passes the proxy"
        assert (await call(namespace, APPLICATION, "127.0.0.1", 9080)).startswith("application")


async def test_workloads_reach_only_the_open_ports_of_the_hub(hub: Hub) -> None:
    namespace = hub.attach(1, intercepted=True)
    async with (
        listening(hub.namespace, OPEN_PORT, b"pilot"),
        listening(hub.namespace, CLOSED_PORT, b"rest"),
        listening(namespace, names.SIDECAR_STATUS, b"status"),
    ):
        assert (await call(namespace, PROXY, HUB_ADDRESS, OPEN_PORT)).startswith("pilot")
        assert await call(namespace, PROXY, HUB_ADDRESS, CLOSED_PORT) == "TimeoutError"
        reader, writer = await connect((workload_address(1), names.SIDECAR_STATUS), hub.namespace.socket)
        assert (await reader.read()).startswith(b"status"), "the hub reaches workloads, and their answers come back"
        writer.close()


async def test_the_host_is_untouched_and_reaches_in_by_a_door(hub: Hub) -> None:
    server = hub.attach(1, intercepted=False)
    assert not any(name.startswith(("mesh", "w1")) for name in psutil.net_if_addrs())
    async with (
        listening(server, 8080, b"gateway"),
        forwarding("127.0.0.1:0", (workload_address(1), 8080), hub.namespace.socket) as door,
    ):
        host, _, port = door.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.read()).startswith(b"gateway")
        writer.close()


async def test_a_process_gets_its_own_view_and_no_privileges(hub: Hub, short_tmp: Path) -> None:
    namespace = hub.attach(1, intercepted=True)
    hosts = short_tmp / "hosts"
    hosts.write_text("240.240.0.1 ratings\n")
    closed = short_tmp / "closed"
    (closed / "project").mkdir(parents=True)
    (closed / "project" / "code").write_text("code")
    (closed / "secret").write_text("secret")
    closed.chmod(0o700)
    script = f"""
        import os, socket
        print(os.getuid(), os.getgid(), os.getgroups())
        print(socket.gethostbyname("ratings"))
        print(open("{closed}/project/code").read(), os.path.exists("{closed}/secret"), os.listdir("/run"))
        print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))])
    """
    place = Place(
        network=namespace.path,
        mounts=True,
        hide=("/run",),
        keep=(*installation(), str(closed / "project")),
        binds={"/etc/hosts": str(hosts)},
        uid=APPLICATION,
        gid=APPLICATION,
    )
    process = Process("view", [sys.executable, "-I", "-S", "-c", textwrap.dedent(script)], place, short_tmp / "log")
    await process.start()
    assert await process.wait() == 0, process.last_lines()
    assert process.last_lines().splitlines() == ["30000 30000 []", "240.240.0.1", "code False []", "['0000000000000000', '1']"]
    hosts.write_text("240.240.0.2 ratings\n")
    assert (closed / "secret").read_text() == "secret", "the host's own view is as before"


def test_nothing_remains_after_the_launcher_is_killed() -> None:
    """SIGKILL of the launcher ends the processes, and with the last of them the namespaces."""
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import asyncio, sys\n"
            "from pathlib import Path\n"
            "from deploy.local.network import Hub\n"
            "from deploy.local.processes import Place, Process, installation\n"
            "async def main():\n"
            "    hub = Hub([1])\n"
            "    namespace = hub.attach(1, intercepted=True)\n"
            "    place = Place(network=namespace.path, uid=30000, gid=30000)\n"
            "    process = Process('sleep', ['/bin/sleep', '60'], place, Path('/dev/null'))\n"
            "    await process.start()\n"
            "    print(process.pid, flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    child = psutil.Process(int(launcher.stdout.readline()))
    with contextlib.suppress(psutil.TimeoutExpired):
        while child.name() != "sleep":
            pass
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs([child], timeout=15)
    assert alive == []
    assert not any(name.startswith(("mesh", "w1")) for name in psutil.net_if_addrs())
